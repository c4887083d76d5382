"""Procedural objects of RoboTwin's tasks, one file per family; parts.py has the conventions and the helpers."""
