"""What the tests of the report share: one real tiny run, read and written."""

import pytest
from support import sessions
from support.tiny_runs import make_images

pytest.importorskip("matplotlib", reason="the extra `report` is not installed")

from packnet_tf.data import open_task  # noqa: E402
from packnet_tf.report.reading import read  # noqa: E402
from packnet_tf.report.write import write_report  # noqa: E402
from packnet_tf.storage.workdir import Workdir  # noqa: E402

# Signs that mean something to HTML and to mathematical text.
CLASSES = {"first": ("a<b & $c", "gre'\"en", "r$ed"), "second": ("1", "2")}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """The image folders of both tasks, by name."""
    folder = tmp_path_factory.mktemp("report_data")
    return {
        name: make_images(folder / name, classes, seed=len(name))
        for name, classes in CLASSES.items()
    }


@pytest.fixture(scope="session")
def workdir(tmp_path_factory, folders):
    """A workdir of two tasks, the first pruned gradually."""
    path = tmp_path_factory.mktemp("report") / "w"
    data = {name: open_task(name, folders[name]) for name in folders}
    sessions.run(path, data, "first")
    sessions.run(path, data, "second", gradual_epochs=0)
    return Workdir(path)


@pytest.fixture(scope="session")
def reading(workdir):
    """All that a report shows of it, evaluated."""
    return read(workdir)


@pytest.fixture(scope="session")
def files(reading, tmp_path_factory):
    """The report's files, the page first."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    return write_report(reading, path, png=True)
