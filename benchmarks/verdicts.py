"""Rows of figures, each beside the bar that it is held against."""

import json
import pathlib
from collections.abc import Sequence

from packnet_tf import console


def write(rows: Sequence[tuple], file: str | pathlib.Path) -> None:
    """Writes rows into a JSON file and prints them.

    Args:
        rows: What was measured, the figure, its bar, and whether it is held.
        file: The file.
    """
    pathlib.Path(file).write_text(json.dumps(rows, indent=1) + "\n")
    cells = [
        [name, f"{figure:.3f}", f"{bar:g}", "held" if held else "MISSED"]
        for name, figure, bar, held in rows
    ]
    print(console.table(["what", "figure", "bar", ""], cells))
