"""How figures look: colours, hatches, and their files. Needs matplotlib.

Legible in print and without colour: the palette is that of Okabe and Ito
(2008), which people with any kind of colour blindness can tell apart, every
colour has a hatch besides, and text is black on white.
"""

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from packnet_tf.errors import PackNetError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Width of a figure in inches: that of text on a printed page.
WIDTH = 7.0
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
SKY, VERMILION, YELLOW = "#56B4E9", "#D55E00", "#F0E442"
_COLOURS = (BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, YELLOW)
# Their number has no divisor in common with that of the colours: 42 tasks
# have looks of their own.
_HATCHES = ("", "///", "...", "\\\\\\", "xxx", "---")
# From white to dark: it says the same in grey.
SHADES = "Blues"

_SETTINGS = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    # Names of tasks and classes are text, whatever signs they have.
    "text.parse_math": False,
    # Text stays text: legible in scripts that the font lacks.
    "svg.fonttype": "none",
    # The same figure always becomes the same bytes.
    "svg.hashsalt": "packnet_tf",
}


def check_matplotlib() -> None:
    """Refuses to go on without matplotlib.

    Raises:
        PackNetError: With the command that installs it.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise PackNetError(
            "A report is drawn by matplotlib, which is not installed; run "
            'pip install "packnet_tf[report]".'
        )


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """Draws and saves figures in this style while the block runs."""
    import matplotlib

    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # The page has every name in a table too.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


def new_figure(height: float, width: float = WIDTH) -> "Figure":
    """Returns an empty figure.

    Args:
        height: In inches.
        width: In inches.
    """
    from matplotlib.figure import Figure

    return Figure((width, height), layout="constrained")


def short(name: str) -> str:
    """Returns a name with at most 16 signs, for where there is no more room.

    Example:
        >>> short("black_footed_albatross")
        'black_footed_al…'
    """
    return name if len(name) <= 16 else f"{name[:15]}…"


def look_of(owner: int) -> dict[str, Any]:
    """Returns how the area of an owner is filled: colour, hatch, edge.

    Args:
        owner: A task's number; 0 for what is free.

    Example:
        >>> look_of(0)["facecolor"]
        'white'
    """
    if owner == 0:
        return {"facecolor": "white", "edgecolor": "0.5", "linewidth": 0.6}
    return {
        "facecolor": _COLOURS[(owner - 1) % len(_COLOURS)],
        "hatch": _HATCHES[(owner - 1) % len(_HATCHES)],
        "edgecolor": "black",
        "linewidth": 0.4,
    }


def square_root() -> Any:
    """Returns a scale of shades from 0 to 1 that tells small values apart."""
    from matplotlib.colors import PowerNorm

    return PowerNorm(0.5, vmin=0, vmax=1)


def label(axes: Any, x: float, y: float, text: str, size: float = 7) -> None:
    """Writes a label that is legible on any fill.

    Args:
        axes: Where.
        x: Its middle, as the axes count.
        y: The same.
        text: What it says.
        size: In points.
    """
    axes.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        fontsize=size,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def label_above(axes: Any, x: float, top: float, text: str) -> None:
    """Writes the number of a bar above it.

    Args:
        axes: Where.
        x: The middle of the bar.
        top: Its end.
        text: What it says.
    """
    axes.annotate(
        text,
        (x, top),
        (0, 1),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=7,
    )


def to_svg(figure: "Figure") -> bytes:
    """Returns a figure as an SVG file."""
    return _saved(figure, format="svg", metadata={"Date": None})


def to_png(figure: "Figure") -> bytes:
    """Returns a figure as a PNG file, for print."""
    return _saved(figure, format="png", dpi=200)


def _saved(figure: "Figure", **how: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, facecolor="white", **how)
    return stream.getvalue()
