"""Masks as arrays: who owns which weight, and which weights go. NumPy alone."""
