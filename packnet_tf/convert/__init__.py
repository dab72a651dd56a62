"""Converts plain Keras models to masked ones, and back."""
