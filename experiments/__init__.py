"""Experiments: each is one command that writes a table and a plot."""
