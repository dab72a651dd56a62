"""Writes the report of a workdir to disk."""

import pathlib

from packnet_tf import atomic_files
from packnet_tf.errors import PackNetError
from packnet_tf.report import style
from packnet_tf.report.page import render
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
    """Writes a page, and its figures as files beside it.

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
    with style.applied():
        sections = sections_of(reading)
        title = f"packnet_tf: {', '.join(t.name for t in reading.tasks)}"
        files = {path: render(title, sections).encode()}
        pictures = [p for s in sections for p in s.pictures] if png else []
        for picture in pictures:
            file = path.with_name(f"{path.stem}-{picture.name}.png")
            files[file] = style.to_png(picture.figure)
    for file, content in files.items():
        atomic_files.write_file(file, content)
    return list(files)
