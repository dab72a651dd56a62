"""What a run can be told: names, defaults, limits and help, written once."""
