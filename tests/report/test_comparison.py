"""The page of a comparison, and a browser that draws it."""

import dataclasses
import xml.etree.ElementTree as ElementTree

import pytest
from support.browser import INKED, browser
from support.pages import image_of, read_page

from packnet_tf.compare.cell import Result
from packnet_tf.compare.plan import Plan, TaskFacts
from packnet_tf.compare.summary import summarize
from packnet_tf.options.compare import METHODS
from packnet_tf.report import style
from packnet_tf.report.comparison import comparison_sections
from packnet_tf.report.write import write_comparison

NAMES = ("a<b & $c", "second")


def result(method, place, seed):
    own = 0.5 + place / 32 + seed / 64
    return Result(
        method,
        0.004,
        seed,
        [own, own],
        [[own], [own, 0.5]],
        [1_000_000, 1_000_000 + 2**place * 10_000],
        60.0,
        2.5,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The page of all methods with three seeds, one of which diverged."""
    plan = Plan(
        {"train_epochs": 3, "learning_rates": "0.001,0.004,0.016"},
        tuple(TaskFacts(name, 3, 10, 0, 10) for name in NAMES),
        0,
    )
    rates = dict.fromkeys(METHODS, 0.004) | {"ewc": None}
    results = {
        method: [result(method, place, seed) for seed in range(3)]
        for place, method in enumerate(METHODS)
        if rates[method]
    }
    path = tmp_path_factory.mktemp("comparison") / "page.html"
    return write_comparison(summarize(plan, rates, results), path, png=True)


@pytest.fixture(scope="module")
def page(files):
    return read_page(files[0].read_text())


def test_every_method_is_a_point_and_a_row(page, files):
    assert [path.name for path in files] == ["page.html", "page-methods.png"]
    (image,) = page.images
    assert "one for each of 10 methods" in image["alt"]
    drawn = [*ElementTree.fromstring(image_of(image["src"])).itertext()]
    assert not {*METHODS} - {"ewc"} - {*drawn}
    assert page.missing == ["No point of ewc: it diverged."]
    table, points, settings = sorted(page.tables, key=len, reverse=True)
    assert [row[0] for row in table[1:]] == [*METHODS]
    assert table[0][3:5] == [*NAMES]
    assert [row[0] for row in points[1:]] == [m for m in METHODS if m != "ewc"]
    assert ["--train_epochs", "3"] in settings


def test_a_point_is_missing_for_the_reason_that_is_true():
    plan = Plan(
        {"learning_rates": "0.001"},
        tuple(TaskFacts(name, 3, 10, 0, 10) for name in NAMES),
        0,
    )
    good = result("packnet", 0, 0)
    results = {
        "packnet": [good],
        "individual": [],
        "ewc": [dataclasses.replace(good, test=[[0.5], [0.0, 0.0]])],
        "lwf": [dataclasses.replace(good, sizes=[None, None])],
        "lora": [dataclasses.replace(good, diverged=True)],
    }
    summary = summarize(plan, dict.fromkeys(results, 0.001), results)
    with style.applied():
        methods = comparison_sections(summary)[0]
    assert methods.missing == [
        "No point of individual: it has no result yet.",
        "No point of lwf: its size on disk is not known.",
        "No point of lora: it diverged.",
    ]
    drawn = [row[0] for row in methods.pictures[0].table.rows]
    assert drawn == ["packnet", "ewc"]


def test_a_browser_draws_it_and_fetches_nothing(files, tmp_path):
    with browser(tmp_path) as opened:
        opened.open(files[0].as_uri())
        (inked,) = opened.evaluate(INKED)
        assert inked > 0.005
        asked = opened.named("Network.requestWillBeSent")
        urls = [event["request"]["url"] for event in asked]
        assert not [
            url
            for url in urls
            if url != files[0].as_uri() and not url.startswith("data:")
        ]
        assert not opened.named("Network.loadingFailed")
        assert not opened.named("Log.entryAdded")
