"""Files of strangers: no code of theirs runs, and memory stays bounded."""
