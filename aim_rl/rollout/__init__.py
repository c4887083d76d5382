"""Environments for TorchRL, worker processes, same-seed groups and seeds."""
