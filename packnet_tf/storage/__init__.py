"""Workdirs: packed states on disk, written whole and read with distrust."""
