"""Makes docs/tour.ipynb of the README's Python.

PYTHONPATH=tests python -m support.tour
"""

import json

from support import ROOT
from support.documents import README, blocks

TOUR = ROOT / "docs" / "tour.ipynb"

# What comes before each part of the README's programs.
_TEXTS = (
    "# A tour of packnet_tf\n"
    "\n"
    "Two tasks in one network, and the first never changes again. The notebook "
    "is the README's Python, in parts; it takes less than a minute, and writes "
    "`net.keras` and `serving/` beside itself. It needs the package with its "
    'demo data: `pip install -e ".[demo]"` in the clone.',
    "Ten digits of 8 x 8 pixels become two tasks of five. The backbone is an "
    "ordinary Keras model that ends in features.",
    "Each task trains on the weights that are free, gives most of them back, "
    "retrains the few it keeps, and is packed.",
    "Every task answers at any time. Then the network goes to disk in three "
    "forms: for Keras, for TensorFlow Serving, and one task as a plain model.",
    "## Serving\n\nWhat serves the network needs TensorFlow alone.",
    "The task is the signature.",
)


def notebook() -> str:
    """Returns the notebook's text."""
    cells = []
    parts = [p for b in blocks(README, "python") for p in b.split("\n\n")]
    for text, part in zip(_TEXTS, parts, strict=True):
        cells += [
            {
                "cell_type": "markdown",
                "metadata": {},
                "source": text.splitlines(keepends=True),
            },
            {
                "cell_type": "code",
                "execution_count": None,
                "metadata": {},
                "outputs": [],
                "source": part.strip("\n").splitlines(keepends=True),
            },
        ]
    kernel = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    whole = {
        "cells": cells,
        "metadata": {
            "kernelspec": kernel,
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 4,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    TOUR.write_text(notebook())
