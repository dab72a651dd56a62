"""What a terminal shows: progress bars, tables and durations."""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import rich.box
import rich.console
import rich.progress
import rich.table
import rich.text

Report = Callable[[int, int], None]

# A line of dashes below the head, in plain ASCII.
_BOX = rich.box.Box("    \n" * 2 + " -- \n" + "    \n" * 5, ascii=True)
# Tables are never cut or wrapped: a file is as wide as it needs to be.
_WIDTH = 100_000


@contextlib.contextmanager
def bar(title: str, *, keep: bool = True) -> Iterator[Report]:
    """Shows a progress bar on the terminal while the block runs.

    Where stderr is not a terminal, nothing is shown.

    Args:
        title: What the line begins with.
        keep: Whether the finished bar stays on the terminal.

    Yields:
        What is called with the number of things done, and of all.

    Example:

    >>> with bar("checking") as report:
    ...     for done in range(3):
    ...         report(done + 1, 3)
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    columns = (
        rich.progress.TextColumn("  {task.description}", markup=False),
        rich.progress.BarColumn(20),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
    )
    # Its own descriptor, so that it is visible while stderr is silenced.
    with os.fdopen(os.dup(sys.stderr.fileno()), "w") as terminal:
        progress = rich.progress.Progress(
            *columns,
            console=rich.console.Console(file=terminal),
            transient=not keep,
            # Lines printed meanwhile go above the bar.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=False,
        )
        with progress:
            task = progress.add_task(title, total=None)
            yield lambda done, total: progress.update(
                task, completed=done, total=total
            )


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[Any]],
    left: Collection[int] = (0,),
) -> str:
    """Returns rows as text in columns.

    Args:
        head: Names of the columns.
        rows: What is in them, as `str` shows it.
        left: The columns that are flush left; the others are flush right.

    Example:

    >>> print(table(["task", "classes"], [["birds", 200]]))
    task   classes
    --------------
    birds      200
    """
    shown = rich.table.Table(
        box=_BOX, show_edge=False, pad_edge=False, collapse_padding=True
    )
    for i, name in enumerate(head):
        justify: Any = "left" if i in left else "right"
        shown.add_column(rich.text.Text(name), justify=justify, no_wrap=True)
    for row in rows:
        # Names are text, whatever brackets and colons they have.
        shown.add_row(*(rich.text.Text(str(cell)) for cell in row))
    plain = rich.console.Console(
        file=io.StringIO(), width=_WIDTH, color_system=None
    )
    with plain.capture() as captured:
        plain.print(shown)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def clock(seconds: float) -> str:
    """Returns a duration as minutes and seconds, e.g. `2:05`."""
    minutes, rest = divmod(int(round(seconds)), 60)
    return f"{minutes}:{rest:02d}"
