"""Demonstrations: episodes on disk, value-map labels, knots, and batches for Stage I."""
