"""Tests of packnet_tf/data/sources/arrays.py."""

import zipfile

import numpy as np
import pytest

from packnet_tf.data import open_task
from packnet_tf.data.sources.arrays import from_arrays, read_npz
from packnet_tf.errors import DataError


def arrays(channels=None, count=12, classes=3):
    random = np.random.default_rng(0)
    shape = (count, 10, 8) + ((channels,) if channels else ())
    return {
        "x_train": random.integers(0, 256, shape, np.uint8),
        "y_train": np.arange(count) % classes,
        "x_test": random.integers(0, 256, shape, np.uint8),
        "y_test": np.arange(count) % classes,
    }


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_grey_becomes_rgb(tmp_path, channels):
    given = arrays(channels)
    np.savez(tmp_path / "a.npz", **given)
    train = read_npz(tmp_path / "a.npz")["train"]
    assert train.class_names == ("0", "1", "2")
    for i, image in enumerate(train.decoded(np.arange(12)).as_numpy_iterator()):
        expected = given["x_train"][i].reshape(10, 8, -1)
        assert np.array_equal(image, np.broadcast_to(expected, (10, 8, 3)))


@pytest.mark.parametrize("channels", [1, 3])
def test_only_colour_images_are_mirrored(channels):
    train = from_arrays(arrays(channels))["train"]
    assert train.preprocessing.flip == (channels == 3)


def test_labels_in_a_column_and_class_names():
    given = arrays()
    given["y_train"] = given["y_train"][:, None]
    given["class_names"] = np.array(["x", "y", "z"])
    train = from_arrays(given)["train"]
    assert train.class_names == ("x", "y", "z")
    assert train.labels.shape == (12,)


def test_class_names_may_be_bytes():
    names = np.array(["é".encode(), b"y", b"z"])
    train = from_arrays({**arrays(), "class_names": names})["train"]
    assert train.class_names == ("é", "y", "z")


def test_members_that_are_no_arrays_are_passed_over(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        for name in ("x_train.npy", "y_train.npy", "notes.txt"):
            file.writestr(name, "no array")
    with pytest.raises(DataError, match="holds nothing; expected arrays"):
        read_npz(tmp_path / "a.npz")


def test_either_part_alone():
    given = arrays()
    for part, other in (("train", "test"), ("test", "train")):
        alone = {k: v for k, v in given.items() if not k.endswith(other)}
        assert set(from_arrays(alone)) == {part}


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_validation_has_arrays_of_its_own(tmp_path, name):
    x, y = np.zeros((4, 8, 8), np.uint8), np.arange(4) % 2
    known = {"x_train": x, "y_train": y, f"x_{name}": x, f"y_{name}": y}
    np.savez(tmp_path / "a.npz", **known)
    data = open_task("own", str(tmp_path / "a.npz"))
    assert len(data.validation) == 4 and data.test is None
    assert data.notes == [
        f"validation: the 4 images of {tmp_path}/a.npz: x_{name}, none of the "
        "training images"
    ]
    with pytest.raises(DataError, match="holds .*; expected arrays named"):
        from_arrays({k: v for k, v in known.items() if k != f"y_{name}"})


def test_arrays_that_are_left_out_are_named(tmp_path):
    x, y = np.zeros((4, 8, 8), np.uint8), np.arange(4) % 2
    parts = from_arrays({"x_train": x, "y_train": y, "x_dev": x, "y_dev": y})
    assert parts["train"].notes == (
        "2 array(s) of arrays are left out: x_dev, y_dev",
    )


def test_other_integers_are_taken():
    given = arrays()
    wide = {**given, "x_train": given["x_train"].astype(np.int64)}
    a, b = (from_arrays(g)["train"] for g in (given, wide))
    assert np.array_equal(a.array(3), b.array(3))
    assert np.array_equal(a.ids, b.ids)


def test_floats_are_rounded():
    given = arrays()
    x = given["x_train"]
    wide = {**given, "x_train": x + np.float32(0.4) * (x < 255)}
    a, b = (from_arrays(g)["train"] for g in (given, wide))
    assert np.array_equal(a.ids, b.ids)


def with_(name, value):
    return lambda given: {**given, name: value(given[name])}


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda g: {"images": g["x_train"]}, "holds images; expected"),
        (
            lambda g: {k: v for k, v in g.items() if k != "y_train"},
            "expected arrays named",
        ),
        (with_("x_train", lambda x: x / 255), "float64 from 0 to 1"),
        (
            with_("x_test", lambda x: x.astype(np.int32) - 5),
            "x_test of the data arrays is int32 from -5",
        ),
        (with_("x_train", lambda x: x[:, 0]), r"shape \(12, 8\)"),
        (with_("x_train", lambda x: x[:0]), r"shape \(0, 10, 8\)"),
        (with_("y_train", lambda y: y[:-1]), "12 images, but y_train holds 11"),
        (with_("y_train", lambda y: y - 1), "label -1"),
        (with_("y_train", lambda y: np.eye(3)[y]), r"of shape \(12, 3\)"),
        (with_("y_train", lambda y: y * 0), "only one class"),
        (with_("y_train", lambda y: y * 2), "Class 1 .* no images"),
        (with_("y_test", lambda y: y + 1), "y_test .* label 3"),
        (with_("y_train", lambda y: y * 10**9), "Class 1 .* no images"),
        (
            with_("y_train", lambda y: y.astype(np.uint64) + 2**63),
            f"label {2**63}; expected 0 to the number",
        ),
        (
            lambda g: {**g, "class_names": ["a", "b", "a"]},
            "class names .* are 'a', 'b', 'a'; expected a different",
        ),
        (lambda g: {**g, "class_names": ["a", "", "b"]}, "'a', '', 'b'"),
        (lambda g: {**g, "class_names": np.array("abc")}, "a list of strings"),
        (lambda g: {**g, "class_names": [["a"], ["b"]]}, "a list of strings"),
        (lambda g: {**g, "class_names": [b"a", b"\xff"]}, "a list of strings"),
        (with_("x_train", lambda x: x.astype(str)), "x_train .* is <U"),
        (with_("x_test", lambda x: x.astype("datetime64[s]")), "is datetime"),
        (
            lambda g: {k: v for k, v in g.items() if k != "x_test"},
            "holds x_train, y_test, y_train; expected",
        ),
    ],
)
def test_what_cannot_be_used_is_said(change, message):
    with pytest.raises(DataError, match=message) as caught:
        from_arrays(change(arrays()))
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="none.npz does not exist"):
        read_npz(tmp_path / "none.npz")


@pytest.mark.parametrize("cut", [0, 10, 300])
def test_damaged_file(tmp_path, cut):
    np.savez_compressed(tmp_path / "a.npz", **arrays())
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content[:cut])
    with pytest.raises(DataError, match="a.npz cannot be read"):
        read_npz(tmp_path / "a.npz")


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.array([{}, []], dtype=object))
    with pytest.raises(DataError, match="without pickled"):
        read_npz(tmp_path / "a.npz")


def test_a_single_array_is_no_npz_file(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy").rename(tmp_path / "a.NPZ")
    with pytest.raises(DataError, match="a.NPZ cannot .* a single array"):
        open_task("own", tmp_path / "a.NPZ")


def test_real_file(shared):
    parts = read_npz(shared / "data" / "fashion_mnist.npz")
    assert len(parts["train"]) == 10000 and len(parts["test"]) == 5000
