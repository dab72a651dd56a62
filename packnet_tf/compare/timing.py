"""How long the cells of a comparison take, and how long it will go on."""

import statistics

from packnet_tf.compare.cell import Result
from packnet_tf.console import clock


class Timing:
    """Counts cells, and estimates the time left from those that are done."""

    def __init__(self) -> None:
        self._done = 0
        self._all = 0
        self._seconds: list[float] = []

    def plan(self, tuning: int, final: int) -> None:
        """Says how many cells there are.

        Args:
            tuning: Cells that choose learning rates.
            final: The others.
        """
        self._all = tuning + final

    def found(self, result: Result) -> None:
        """Counts a cell of an earlier run."""
        self._done += 1
        if result.seconds:
            self._seconds.append(result.seconds)

    def ran(self, seconds: float) -> None:
        """Counts a cell of this run.

        Args:
            seconds: How long it took.
        """
        self._done += 1
        self._seconds.append(seconds)

    def skip(self) -> None:
        """Leaves out a cell that will not be run."""
        self._all -= 1

    def line(self, result: Result, tuning: bool) -> str:
        """Returns a line on a cell that is done, with the time left.

        Args:
            result: The cell's result.
            tuning: Whether it served to choose a rate.
        """
        score = result.score
        shown = "-" if score is None else f"{score:.4f}"
        what = "diverged" if result.diverged else f"validation {shown}"
        kind = "rate" if tuning else "seed"
        value = f"{result.learning_rate:g}" if tuning else result.seed
        left = (self._all - self._done) * statistics.fmean(self._seconds)
        return (
            f"{self._done}/{self._all}  {result.method}  {kind} {value}  "
            f"{what}  left {clock(left)}"
        )
