"""Complete runs, from options and data to a packed state and SavedModel."""
