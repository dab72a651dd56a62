"""Reads an HTML page as a screen reader would: images, tables, addresses."""

import base64
import dataclasses
import html.parser

# Attributes whose value a browser may fetch.
_FETCHED = ("src", "srcset", "href", "data", "poster", "action", "background")
_VOID = ("meta", "img", "br", "link", "input", "hr")


@dataclasses.dataclass
class Page:
    """What a page holds.

    Attributes:
        images: Attributes of each image.
        tables: Each a list of rows, of the texts of their cells.
        links: Values of all attributes that name something.
        ids: Values of `id`.
        headings: Texts of headings, with their level.
        missing: Texts of the paragraphs that say what is missing.
        text: All text.
        figures: Of each figure, how many images and tables it holds.
    """

    images: list = dataclasses.field(default_factory=list)
    tables: list = dataclasses.field(default_factory=list)
    links: list = dataclasses.field(default_factory=list)
    ids: list = dataclasses.field(default_factory=list)
    headings: list = dataclasses.field(default_factory=list)
    missing: list = dataclasses.field(default_factory=list)
    text: str = ""
    figures: list = dataclasses.field(default_factory=list)


class _Reader(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.page = Page()
        self.open = []

    def handle_starttag(self, tag, attributes):
        given, page = dict(attributes), self.page
        page.links += [given[name] for name in _FETCHED if name in given]
        page.ids += [given["id"]] if "id" in given else []
        if tag == "figure":
            page.figures.append({"img": 0, "table": 0})
        if "figure" in self.open and tag in ("img", "table"):
            page.figures[-1][tag] += 1
        if tag == "img":
            page.images.append(given)
        elif tag == "table":
            page.tables.append([])
        elif tag == "tr":
            page.tables[-1].append([])
        elif tag in ("th", "td"):
            page.tables[-1][-1].append("")
        elif tag in ("h1", "h2", "h3"):
            page.headings.append((tag, ""))
        elif tag == "p" and given.get("class") == "missing":
            page.missing.append("")
            tag = "missing"
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        found = self.open.pop()
        assert found == tag or (found, tag) == ("missing", "p"), (found, tag)

    def handle_data(self, data):
        page, inner = self.page, self.open[-1] if self.open else ""
        if inner != "style":
            page.text += data
        if inner in ("th", "td"):
            page.tables[-1][-1][-1] += data
        elif inner in ("h1", "h2", "h3"):
            page.headings[-1] = (inner, page.headings[-1][1] + data)
        elif inner == "missing":
            page.missing[-1] += data


def read_page(text):
    """Returns what a page holds; its tags have to fit each other."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert not reader.open
    return reader.page


def image_of(source):
    """Returns the bytes of a `data:` address."""
    head, _, content = source.partition(",")
    assert head.endswith(";base64")
    return base64.b64decode(content)
