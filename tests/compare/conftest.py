"""What the tests of the comparison share: images, a network, its cells."""

import pytest
from support.comparisons import TASKS, make_cell
from support.sessions import pretrained
from support.tiny_runs import make_images

from packnet_tf.data import open_task


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """The opened images of both tasks, in order."""
    folder = tmp_path_factory.mktemp("compared")
    return [
        open_task(
            name, make_images(folder / name, classes, train=12, seed=len(name))
        )
        for name, classes in TASKS.items()
    ]


@pytest.fixture(scope="session")
def network(tmp_path_factory):
    """The options of a tiny network with weights."""
    return pretrained(tmp_path_factory.mktemp("network") / "net.keras")


@pytest.fixture
def cell(data, network, tmp_path):
    """Returns a function that makes a cell of both tasks."""

    def make(tasks=2, **how):
        return make_cell(data[:tasks], network, tmp_path, **how)

    return make
