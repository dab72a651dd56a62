"""The page stands alone, and can be read without its pictures."""

import dataclasses
import io
import math
import struct
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image
from support import tiny_nets
from support.pages import image_of, read_page

from packnet_tf.errors import PackNetError
from packnet_tf.options.network import NetworkOptions
from packnet_tf.report import figures, style
from packnet_tf.report.page import Section, Table, render
from packnet_tf.report.reading import read
from packnet_tf.report.write import closing_line, write_report
from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir

FIGURES = (
    "ownership",
    "accuracy",
    "training-first",
    "training-second",
    "capacity",
    "sizes",
    "confusion-first",
    "worst-first",
    "confusion-second",
    "worst-second",
)


@pytest.fixture(scope="module")
def page(files):
    return read_page(files[0].read_text())


def test_every_figure_has_a_text_and_a_table(page):
    assert len(page.images) == len(FIGURES)
    assert page.figures == [{"img": 1, "table": 1}] * len(FIGURES)
    for image in page.images:
        # A sentence with numbers, not a name.
        assert len(image["alt"]) > 40 and any(map(str.isdigit, image["alt"]))
    for head, *rows in page.tables:
        assert rows and {len(row) for row in rows} == {len(head)}
    levels = [level for level, _ in page.headings]
    assert levels == ["h1", *["h2"] * 7]
    assert not page.missing


def test_nothing_is_fetched(page, files):
    places = [link for link in page.links if link.startswith("#")]
    assert {place[1:] for place in places} == {*page.ids}
    for link in {*page.links} - {*places}:
        svg = image_of(link)
        assert link.startswith("data:image/svg+xml;")
        for part in ElementTree.fromstring(svg).iter():
            for name, value in part.attrib.items():
                if name.endswith("href"):
                    assert value.startswith(("#", "data:")), value
    assert "default-src 'none'" in files[0].read_text()


def test_names_are_text_whatever_signs_they_have(page):
    names = ["a<b & $c", "gre'\"en", "r$ed"]
    assert names in [table[0][1:] for table in page.tables]
    confusion = page.images[FIGURES.index("confusion-first")]
    texts = [*ElementTree.fromstring(image_of(confusion["src"])).itertext()]
    assert not {*names} - {*texts}


def test_tables_have_the_numbers_of_the_reading(page, reading):
    by_head = {tuple(table[0]): table[1:] for table in page.tables}
    matrix = reading.accuracies.matrix
    assert by_head["state", "first", "second"] == [
        ["1 first", f"{matrix[0, 0]:.4f}", ""],
        ["2 second", *(f"{value:.4f}" for value in matrix[1])],
    ]
    owners = by_head["kernel", "weights", "first", "second", "free"]
    assert [row[0] for row in owners] == [
        "all kernels",
        *(kernel.path for kernel in reading.kernels),
    ]
    assert "forgetting 0.0000, backward transfer 0.0000" in page.text


def test_figures_are_files_too(files):
    page, *pictures = files
    names = [f"page-{name}.png" for name in FIGURES]
    assert [path.name for path in pictures] == names
    assert {*page.parent.iterdir()} == {*files}
    for path in pictures:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"))
        assert pixels.shape[1] == 1400 and pixels.std() > 5


def test_the_same_reading_is_the_same_page(files, reading, tmp_path):
    written = write_report(reading, tmp_path / "again.html")
    assert written == [tmp_path / "again.html"]
    assert written[0].read_bytes() == files[0].read_bytes()


def test_what_a_workdir_lacks_is_said(tmp_path):
    """States that a Python program committed, without figures."""
    workdir = Workdir(tmp_path / "w")
    workdir.create(NetworkOptions(image_size=tiny_nets.SIZE))
    net = tiny_nets.packed_net(())
    # A base task without a head, and one whose figures make no sense.
    tiny_nets.add_packed(net, "base", 0)
    states.commit(workdir, net, metrics={"test_accuracy": "good"})
    tiny_nets.add_packed(net, "odd", 3, prune=False)
    states.commit(workdir, net, metrics={"test_accuracy": 97.4})
    reading = read(workdir)
    assert reading.room == () and reading.accuracies.summary() is None
    path = write_report(reading, tmp_path / "page.html")[0]
    page = read_page(path.read_text())
    assert len(page.images) == 3
    kept = "its manifest has no history of epochs"
    for line, expected in zip(
        page.missing,
        [
            "No test accuracy of base: it has no head.",
            "No test accuracy of odd: none was recorded; no data.",
            f"No training curve of base: {kept}",
            f"No training curve of odd: {kept}",
            "No size of a SavedModel: the workdir has none.",
            "No test images of base: no head.",
            "No test images of odd: no data.",
        ],
        strict=True,
    ):
        assert line.startswith(expected)


def test_many_kernels_take_several_figures(reading):
    many = reading.kernels * (1 + 100 // len(reading.kernels))
    pages = figures.ownership(dataclasses.replace(reading, kernels=many))
    assert len(pages) == math.ceil(len(many) / 40)
    assert [p.name for p in pages][:2] == ["ownership-1", "ownership-2"]
    for page in pages:
        # Legible on a sheet of paper.
        assert page.figure.get_size_inches()[1] < 10


def test_every_owner_looks_different():
    looks = [
        (style.look_of(owner)["facecolor"], style.look_of(owner).get("hatch"))
        for owner in range(43)
    ]
    assert len({*looks}) == 43


def test_text_of_a_page_is_escaped():
    table = Table("<t>", ["<h>"], [["<r>"]])
    section = Section("s", "<s>", ["<p>"], missing=["<m>"], table=table)
    page = read_page(render("<title>", [section]))
    for text in ("<t>", "<h>", "<r>", "<s>", "<p>", "<m>", "<title>"):
        assert text in page.text


def test_without_matplotlib_a_line_says_how_to_get_it(monkeypatch, workdir):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    remedy = r'pip install "packnet_tf\[report\]"'
    with pytest.raises(PackNetError, match=remedy):
        style.check_matplotlib()
    line = closing_line(workdir)
    assert line.endswith(f"python apps/report.py --workdir={workdir.path}")
    assert not (workdir.path / "report.html").exists()


def test_a_run_ends_with_the_path_of_its_report(workdir, tmp_path):
    copy = tiny_nets.copy_of(workdir, tmp_path / "w")
    line = closing_line(copy)
    path = copy.path / "report.html"
    assert line.split() == ["report", str(path)]
    assert len(read_page(path.read_text()).images) == len(FIGURES)


def test_png_is_sharp_enough_for_print():
    with style.applied():
        content = style.to_png(style.new_figure(1.0))
    width, height = struct.unpack(">II", content[16:24])
    assert (width, height) == (1400, 200)
    Image.open(io.BytesIO(content)).verify()
