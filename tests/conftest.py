"""What all tests share: a quiet TensorFlow, two devices, real images."""

import os
import pathlib
import re

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import tensorflow as tf  # noqa: E402
from PIL import Image  # noqa: E402

# Two logical devices on one CPU, for tests with two replicas; it has to be
# said before TensorFlow starts.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(config, items):
    """Leaves out slow and large tests, unless `-m` has a word on them.

    So `-m "not large"` is the same as no `-m`: slow ones stay out.
    """
    named = re.findall(r"\w+", config.option.markexpr)
    left_out = {"slow", "large"} - {*named}
    out = [
        item
        for item in items
        if left_out & {mark.name for mark in item.iter_markers()}
    ]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in out]


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder of real images and weights; skips where there is none."""
    where = os.environ.get("PACKNET_TF_SHARED", _ROOT.parent / "shared")
    path = pathlib.Path(where)
    if not (path / "data").is_dir():
        pytest.skip(
            f"no real images in {path}; set PACKNET_TF_SHARED to their folder"
        )
    return path


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory):
    """Keeps what is remembered of images out of the user's folder."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@pytest.fixture
def image_folder(tmp_path):
    """Returns a function that writes a small image folder.

    Its arguments are the classes, images of each class and part, the parts
    and the size in pixels (height, width); it returns the folder.
    """

    def make(
        classes=("ant", "bee", "cat"),
        count=4,
        parts=("train", "test"),
        size=(20, 30),
        name="images",
    ):
        random = np.random.default_rng(0)
        for part in parts:
            for label in classes:
                folder = tmp_path / name / part / label
                folder.mkdir(parents=True)
                for i in range(count):
                    pixels = random.integers(0, 256, (*size, 3), np.uint8)
                    Image.fromarray(pixels).save(folder / f"{i:03d}.jpg")
        return tmp_path / name

    return make
