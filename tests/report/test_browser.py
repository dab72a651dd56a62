"""A browser draws every figure of the page, and fetches nothing."""

import pytest
from support.browser import INKED, browser


@pytest.fixture(scope="module")
def opened(files, tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium")) as page:
        page.open(files[0].as_uri())
        yield page


def test_every_figure_is_drawn(opened, files):
    inked = opened.evaluate(INKED)
    assert len(inked) == len(files) - 1
    assert min(inked) > 0.005, inked
    # Each as wide as the text.
    widths = opened.evaluate("[...document.images].map((i) => i.width)")
    assert min(widths) > 600


def test_nothing_is_fetched(opened, files):
    asked = [
        event["request"]["url"]
        for event in opened.named("Network.requestWillBeSent")
    ]
    assert files[0].as_uri() in asked
    assert not [
        url
        for url in asked
        if url != files[0].as_uri() and not url.startswith("data:")
    ]
    assert not opened.named("Network.loadingFailed")
    assert not opened.named("Log.entryAdded")


def test_tables_open_and_the_page_is_not_wider_than_a_telephone(opened):
    opened.call(
        "Emulation.setDeviceMetricsOverride",
        width=400,
        height=800,
        deviceScaleFactor=1,
        mobile=True,
    )
    width = opened.evaluate(
        "document.querySelectorAll('details').forEach((d) => d.open = true);"
        "document.documentElement.scrollWidth"
    )
    assert width == 400
