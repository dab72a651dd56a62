"""Writes the page of a workdir, or of a comparison, to disk."""

import pathlib
from collections.abc import Callable, Sequence

from packnet_tf import atomic_files
from packnet_tf.compare.summary import Summary
from packnet_tf.errors import PackNetError
from packnet_tf.report import style
from packnet_tf.report.comparison import comparison_sections
from packnet_tf.report.page import Section, render
from packnet_tf.report.reading import Reading, read
from packnet_tf.report.sections import sections_of
from packnet_tf.storage.workdir import Workdir

# The page's name in a workdir.
NAME = "report.html"


def closing_line(workdir: Workdir) -> str:
    """Writes a workdir's report into it, and returns a line with its path.

    Without matplotlib the line says how to get a report.

    Args:
        workdir: The workdir.
    """
    try:
        style.check_matplotlib()
    except PackNetError as error:
        return f"{error} Then: python apps/report.py --workdir={workdir.path}"
    path = workdir.path / NAME
    write_report(read(workdir), path)
    return f"report        {path}"


def write_report(
    reading: Reading, path: pathlib.Path, *, png: bool = False
) -> list[pathlib.Path]:
    """Writes a workdir's page, and its figures as files beside it.

    The same reading always becomes the same bytes, with the same matplotlib.

    Args:
        reading: What it shows.
        path: The HTML file.
        png: Whether to write every figure as a PNG file too, named after the
            page and the figure.

    Returns:
        What was written, the page first.

    Raises:
        StateError: If a file cannot be written.
    """
    title = f"packnet_tf: {', '.join(t.name for t in reading.tasks)}"
    return _write(title, lambda: sections_of(reading), path, png)


def write_comparison(
    summary: Summary, path: pathlib.Path, *, png: bool = False
) -> list[pathlib.Path]:
    """Writes a comparison's page, and its figure as a file beside it.

    Args:
        summary: What it shows.
        path: As for `write_report`.
        png: The same.

    Returns:
        What was written, the page first.

    Raises:
        StateError: If a file cannot be written.
    """
    title = f"packnet_tf: methods on {', '.join(summary.tasks)}"
    return _write(title, lambda: comparison_sections(summary), path, png)


def _write(
    title: str,
    draw: Callable[[], Sequence[Section]],
    path: pathlib.Path,
    png: bool,
) -> list[pathlib.Path]:
    with style.applied():
        sections = draw()
        files = {path: render(title, sections).encode()}
        pictures = [p for s in sections for p in s.pictures] if png else []
        for picture in pictures:
            file = path.with_name(f"{path.stem}-{picture.name}.png")
            files[file] = style.to_png(picture.figure)
    for file, content in files.items():
        atomic_files.write_file(file, content)
    return list(files)
