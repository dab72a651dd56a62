"""The options of a run, with their names, defaults, limits and help."""
