"""Writes sections of text, figures and tables as one HTML file.

The file needs nothing else: figures are inside it, and its own security
policy forbids that a browser fetches anything. Every figure has a text that
stands for it, and a table with its numbers behind it.
"""

import base64
import dataclasses
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from packnet_tf.report import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Table:
    """Numbers in rows.

    Attributes:
        caption: What they are.
        head: Names of the columns.
        rows: What is in them, as `str` shows it; the first cell is the row's
            name.
    """

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure with what stands for it where it cannot be seen.

    Attributes:
        name: Its name among files, e.g. `"ownership"`.
        alt: What it shows, in a sentence or two, with its main numbers.
        caption: How to read it.
        figure: The drawing.
        table: Its numbers.
    """

    name: str
    alt: str
    caption: str
    figure: "Figure"
    table: Table


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: Its place in the page's address, e.g. `"capacity"`.
        title: Its heading.
        text: Paragraphs below that.
        pictures: Its figures.
        missing: What it lacks and why, a sentence each.
        table: A table of its own, or None.
    """

    name: str
    title: str
    text: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    missing: Sequence[str] = ()
    table: Table | None = None


_STYLE = """
body { color: #111; background: #fff; font: 16px/1.5 system-ui, sans-serif;
  max-width: 50rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; }
h2 { margin-top: 3rem; }
a { color: #00528a; }
figure { margin: 1.5rem 0; break-inside: avoid; }
img { display: block; width: 100%; height: auto; }
figcaption, caption { font-size: .9rem; text-align: left; }
details { overflow-x: auto; margin-top: .5rem; }
summary { cursor: pointer; }
table { border-collapse: collapse; font-size: .85rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid #bbb;
  text-align: right; }
th:first-child { text-align: left; font-weight: normal; }
thead th, thead th:first-child { font-weight: bold; vertical-align: bottom; }
.missing { border-left: 4px solid #555; padding-left: .8rem; }
@media print {
  body { max-width: none; margin: 0; font-size: 11pt; }
  nav { display: none; }
  h2, section > p { break-after: avoid; }
  .missing { break-after: auto; }
}
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render(title: str, sections: Sequence[Section]) -> str:
    """Returns the page.

    Args:
        title: Its title.
        sections: Its parts, in order.

    Returns:
        The content of an HTML file.
    """
    links = "".join(
        f'<li><a href="#{s.name}">{escape(s.title)}</a></li>\n'
        for s in sections
    )
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        f"<h1>{escape(title)}</h1>",
        f'<nav aria-label="Sections"><ul>\n{links}</ul></nav>',
        "<main>",
        *map(_section, sections),
        "</main>",
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def _section(section: Section) -> str:
    parts = [
        f'<section id="{section.name}">',
        f"<h2>{escape(section.title)}</h2>",
        *(f"<p>{escape(line)}</p>" for line in section.text),
    ]
    if section.table is not None:
        parts.append(_table(section.table))
    parts += map(_picture, section.pictures)
    parts += [
        f'<p class="missing">{escape(line)}</p>' for line in section.missing
    ]
    return "\n".join([*parts, "</section>"])


def _picture(picture: Picture) -> str:
    image = base64.b64encode(style.to_svg(picture.figure)).decode()
    return "\n".join(
        [
            "<figure>",
            f'<img alt="{escape(picture.alt)}" '
            f'src="data:image/svg+xml;base64,{image}">',
            f"<figcaption>{escape(picture.caption)}</figcaption>",
            "<details>",
            "<summary>The numbers as a table</summary>",
            _table(picture.table),
            "</details>",
            "</figure>",
        ]
    )


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(n)}</th>' for n in table.head)
    lines = [
        f"<table><caption>{escape(table.caption)}</caption>",
        f"<thead><tr>{head}</tr></thead>",
        "<tbody>",
    ]
    for name, *cells in table.rows:
        row = "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{escape(str(name))}</th>{row}</tr>')
    return "\n".join([*lines, "</tbody></table>"])
