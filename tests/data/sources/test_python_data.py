"""Tests of packnet_tf/data/sources/python_data.py."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from packnet_tf.data import integrity, pipeline, splits
from packnet_tf.data.task_data import open_task
from packnet_tf.errors import DataError

RANDOM = np.random.default_rng(0)
X = RANDOM.integers(0, 256, (14, 20, 30, 3), np.uint8)
Y = np.arange(14) % 3


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        part = slice(5 * index, 5 * index + 5)
        return X[part].astype(np.float32), Y[part][:, None]


KINDS = {
    "pair": lambda: (X, Y),
    "dataset": lambda: tf.data.Dataset.from_tensor_slices((X, Y)),
    "batched": lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(4),
    "floats": lambda: tf.data.Dataset.from_tensor_slices(
        (X.astype(np.float32), Y)
    ).batch(4),
    "py_dataset": Batches,
}


def content(data):
    return [
        (x.numpy().tobytes(), y.numpy().tobytes())
        for dataset in (
            pipeline.training(data.train, 16, 4).epoch(0),
            pipeline.training(data.train, 16, 4, cache_bytes=0).epoch(1),
            pipeline.evaluation(data.test, 16, 4),
        )
        for x, y in dataset
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_validation_is_a_part_of_its_own(kind):
    make = KINDS[kind]
    data = open_task("own", {"train": make(), "validation": make()})
    assert data.test is None and len(data.validation) == len(data.train)
    assert data.notes[0].startswith(f"validation: the {len(X)} images of")


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_give_the_same_batches(kind):
    make = KINDS[kind]
    data = integrity.check(
        open_task(
            "own",
            {"train": make(), "test": make()},
            class_names=["ant", "bee", "cat"],
        ),
        4,
    )
    assert data.class_names == ("ant", "bee", "cat")
    assert data.facts.kind == "python" and data.facts.data is None
    assert len(data.train) == len(data.test) == 14
    pair = open_task("own", {"train": (X, Y), "test": (X, Y)})
    assert content(data) == content(pair)
    train, validation = splits.split(data.train, 0.3)
    assert len(train) + len(validation) == 14


def test_images_of_many_sizes():
    sizes = [(9 + i, 30 - i, 1 + 2 * (i % 2)) for i in range(8)]

    def generate():
        for i, size in enumerate(sizes):
            yield np.full(size, i, np.uint8), i % 2

    signature = (
        tf.TensorSpec([None, None, None], tf.uint8),
        tf.TensorSpec([], tf.int32),
    )
    dataset = tf.data.Dataset.from_generator(
        generate, output_signature=signature
    )
    data = open_task("own", dataset)
    assert data.test is None and data.class_names == ("0", "1")
    shapes = [image.shape for image in data.train.decoded(np.arange(8))]
    assert shapes == [(h, w, 3) for h, w, _ in sizes]


class GreyBatches(Batches):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x[..., :1], y


GREY = X[..., :1]
GREY_KINDS = {
    "pair": lambda: {"train": (GREY, Y), "test": (GREY, Y)},
    "dataset": lambda: {"train": slices(GREY, Y), "test": slices(GREY, Y)},
    "py_dataset": lambda: {"train": GreyBatches(), "test": GreyBatches()},
    "mixed": lambda: {"train": (GREY[..., 0], Y), "test": slices(GREY, Y)},
}


@pytest.mark.parametrize("kind", GREY_KINDS)
def test_grey_images_are_not_mirrored_in_any_kind(kind):
    pair = open_task("own", GREY_KINDS["pair"]())
    data = open_task("own", GREY_KINDS[kind]())
    assert data.preprocessing == pair.preprocessing
    assert data.test.preprocessing.flip is False
    assert np.array_equal(data.train.ids, pair.train.ids)
    assert content(data) == content(pair)
    # One part in colour, as in a pair: they may be photographs.
    half = {"train": slices(GREY, Y), "test": slices(X, Y)}
    assert open_task("own", half).preprocessing.flip is True


class Endless(keras.utils.PyDataset):
    num_batches = None

    def __getitem__(self, index):
        return X, Y


def test_keras_data_sets_of_folders_bring_their_class_names(image_folder):
    folder = image_folder()
    read = functools.partial(
        keras.utils.image_dataset_from_directory,
        image_size=(20, 30),
        verbose=False,
    )
    parts = {part: read(folder / part) for part in ("train", "test")}
    assert open_task("own", parts).class_names == ("ant", "bee", "cat")
    own = open_task("own", parts, class_names=list("xyz"))
    assert own.class_names == ("x", "y", "z")
    other = image_folder(classes=("ant", "bee", "dog"), name="other")
    parts["test"] = read(other / "test")
    with pytest.raises(DataError, match="different class names.*'dog'"):
        open_task("own", parts)


def slices(x, y):
    return tf.data.Dataset.from_tensor_slices((x, y))


@pytest.mark.parametrize(
    "data, message",
    [
        (lambda: slices(X, Y).repeat(), "own: train never ends"),
        (lambda: slices(X, Y).take(0), "own: train has no images"),
        (lambda: slices(X / 255, Y), "floats from 0 to 1"),
        (lambda: slices(X - 300.0, Y), "expected pixels from 0 to 255"),
        (lambda: slices(X[..., :2], Y), "expected .height, width, 1 or 3"),
        (lambda: slices(X, Y / 2), "expected one integer per image"),
        (lambda: slices(X, np.eye(3)[Y]), "expected one integer per image"),
        (lambda: slices(X, Y - 1), "Image 0 .* has the label -1"),
        (lambda: slices(X.astype(str), Y), "of object; expected pixels from"),
        (lambda: slices(X, 0 * Y), "only one class"),
        (lambda: slices(X, 2 * Y), "Class 1 of .* has no images"),
        (lambda: tf.data.Dataset.range(5), "expected pairs"),
        (lambda: {"train": slices(X, Y), "val": 1}, "keys train, val"),
        (lambda: 5, "of type int; expected a pair"),
        (lambda: (X, Y, Y), "of type tuple; expected a pair"),
        (lambda: ([[1, 2], [3]], [0, 1]), "differ in shape; expected a pair"),
        (
            lambda: {"train": slices(X, Y), "test": ([[1, 2], [3]], [0, 1])},
            "differ in shape; expected a pair",
        ),
        (lambda: Endless(), "own: train never ends"),
    ],
)
def test_unusable_data_is_named(data, message):
    with pytest.raises(DataError, match=message) as caught:
        open_task("own", data())
    assert "\n" not in str(caught.value)


def test_a_label_out_of_range_is_named():
    with pytest.raises(DataError, match="label 2, but there are 2 classes"):
        open_task("own", slices(X, Y), class_names=["a", "b"])
    with pytest.raises(DataError, match="y_train .* label 2, but"):
        open_task("own", (X, Y), class_names=["a", "b"])


@pytest.mark.parametrize("data", [slices(X, Y), (X, Y)])
def test_class_names_are_any_sequence_of_texts(data):
    named = open_task("own", data, class_names=np.array(["a", "b", "c"]))
    assert named.class_names == ("a", "b", "c")
    with pytest.raises(DataError, match="expected a list of strings"):
        open_task("own", data, class_names=["a", "b", None])
