"""Ownership masks and pruning as functions of NumPy arrays."""
