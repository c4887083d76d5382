"""Demonstrations: episodes on disk, value-map labels, waypoints, and batches for Stage I."""
