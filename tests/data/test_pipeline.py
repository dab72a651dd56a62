"""Tests of packnet_tf/data/pipeline.py."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from packnet_tf.data import pipeline
from packnet_tf.data.images import random_draws
from packnet_tf.data.images.pixel_path import read_for_evaluation, working_image
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.sources.arrays import ArraySource
from packnet_tf.data.sources.folder import read_folder
from packnet_tf.errors import DataError
from packnet_tf.model.replicas import make_strategy, split_for_replicas
from packnet_tf.options.augmentation import Augmentation

CHOICES = [
    Preprocessing(),
    Preprocessing(flip=False),
    Preprocessing(crop="none"),
    Preprocessing(resize="squash"),
    Preprocessing(resize="squash", crop="none"),
    Preprocessing(crop="resized"),
]


def content(dataset):
    """Returns the bytes of all batches, one by one."""
    return [
        (x.numpy().tobytes(), y.numpy().tobytes(), x.shape[0])
        for x, y in dataset
    ]


def array_source(count=20, size=(8, 8)):
    # Every pixel of an image is its number, which no resizing changes.
    pixels = np.broadcast_to(
        np.arange(count, dtype=np.uint8)[:, None, None], (count, *size)
    )
    return ArraySource(
        np.array(pixels),
        np.arange(count) % 4,
        ["a", "b", "c", "d"],
        Preprocessing(),
    )


def test_an_epoch_shows_every_image_once():
    batches = pipeline.training(array_source(), 16, 6)
    assert batches.steps == len(batches) == 4
    for number in range(3):
        seen, sizes = [], []
        for x, y in batches.epoch(number):
            assert x.dtype == tf.float32 and y.dtype == tf.int32
            assert x.shape[1:] == (16, 16, 3)
            ids = x[:, 3, 5, 1].numpy()
            assert np.array_equal(ids % 4, y.numpy())
            seen += ids.tolist()
            sizes.append(len(ids))
        assert sorted(seen) == list(range(20))
        assert seen != sorted(seen)
        assert sizes == [6, 6, 6, 2]


def test_cardinality_is_known():
    batches = pipeline.training(array_source(), 16, 6)
    assert int(batches.epoch(0).cardinality()) == 4
    streamed = pipeline.training(array_source(), 16, 6, cache_bytes=0)
    assert int(streamed.epoch(0).cardinality()) == 4
    test = pipeline.evaluation(array_source(), 16, 6)
    assert int(test.cardinality()) == 4


@pytest.mark.parametrize("choice", CHOICES)
def test_cached_and_streamed_are_the_same_bytes(image_folder, choice):
    source = read_folder(image_folder(), choice)["train"]
    cached = pipeline.training(source, 16, 5, seed=1)
    streamed = pipeline.training(source, 16, 5, seed=1, cache_bytes=100)
    assert cached.load() and not streamed.load()
    filling = pipeline.training(source, 16, 5, seed=1)
    for number in (0, 1):
        a, b = content(cached.epoch(number)), content(streamed.epoch(number))
        assert a == b == content(filling.epoch(number))
    assert filling.load()


def test_the_first_epoch_fills_the_memory(image_folder):
    root = image_folder()
    source = read_folder(root)["train"]
    batches = pipeline.training(source, 16, 5)
    next(iter(batches.epoch(0)))  # Left in the middle: no harm.
    whole = content(batches.epoch(0))
    for file in root.rglob("*.jpg"):
        file.unlink()
    assert content(batches.epoch(0)) == whole
    assert content(batches.epoch(1)) != whole


def test_resized_crops_are_pillows(image_folder):
    choice = Preprocessing(crop="resized", flip=False)
    source = read_folder(image_folder(size=(60, 80)), choice)["train"]
    batches = pipeline.training(source, 16, 12, seed=4)
    ((x, _),) = batches.epoch(2)
    draws = random_draws.draw(4, 2, source.ids, source.labels)
    sizes = set()
    for square, place in zip(x.numpy(), draws.order, strict=True):
        full = next(iter(source.decoded(np.array([place]))))
        work = working_image(full, 16, choice).numpy()
        ((top, left, height, width),) = random_draws.resized_windows(
            4, 2, source.ids[[place]], [work.shape[:2]]
        ).tolist()
        cut = Image.fromarray(work[top : top + height, left : left + width])
        expected = np.asarray(cut.resize((16, 16), Image.Resampling.BILINEAR))
        assert np.array_equal(square, expected)
        sizes.add((height, width))
    assert len(sizes) > 6


@pytest.mark.parametrize("text", ["randaugment:9", "mixup,cutmix"])
def test_stronger_augmentation_is_a_function_of_the_epoch(image_folder, text):
    source = read_folder(image_folder())["train"]
    choice = Augmentation.parse(text)
    cached = pipeline.training(source, 16, 5, augmentation=choice)
    streamed = pipeline.training(
        source, 16, 5, cache_bytes=0, augmentation=choice
    )
    cached.load()
    assert content(cached.epoch(3)) == content(streamed.epoch(3))
    assert content(cached.epoch(3)) != content(cached.epoch(4))
    plain = pipeline.training(source, 16, 5)
    assert content(cached.epoch(3)) != content(plain.epoch(3))
    assert plain.loss == "sparse_categorical_crossentropy"
    ((x, y), *_) = cached.epoch(3)
    assert x.dtype == tf.float32 and x.shape == (5, 16, 16, 3)
    if choice.soft:
        assert cached.loss == "categorical_crossentropy"
        assert y.dtype == tf.float32 and y.shape == (5, 3)
    else:
        assert cached.loss == plain.loss and y.dtype == tf.int32


def test_epochs_can_be_taken_up_anywhere(image_folder):
    source = read_folder(image_folder())["train"]
    whole = pipeline.training(source, 16, 5, seed=1)
    epochs = [content(whole.epoch(number)) for number in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    resumed = pipeline.training(source, 16, 5, seed=1)
    assert content(resumed.epoch(2)) == epochs[2]
    other = pipeline.training(source, 16, 5, seed=2)
    assert content(other.epoch(2)) != epochs[2]


def test_batches_do_not_depend_on_file_names(image_folder):
    root = image_folder()
    before = pipeline.training(read_folder(root)["train"], 16, 5)
    expected = content(before.epoch(0))
    ant = root / "train" / "ant"
    (ant / "000.jpg").rename(ant / "zzz.jpg")
    after = pipeline.training(read_folder(root)["train"], 16, 5)
    assert content(after.epoch(0)) == expected


def test_crops_and_flips_are_parts_of_the_working_image(image_folder):
    source = read_folder(image_folder())["train"]
    batches = pipeline.training(source, 16, len(source), seed=0)
    ((x, y),) = batches.epoch(0)
    flips = places = 0
    for square, label in zip(x.numpy(), y.numpy(), strict=True):
        found = set()
        for index in np.flatnonzero(source.labels == label):
            full = next(iter(source.decoded(np.array([index]))))
            work = working_image(full, 16, source.preprocessing)
            work = work.numpy().astype(np.float32)
            for top in range(work.shape[0] - 15):
                for left in range(work.shape[1] - 15):
                    cut = work[top : top + 16, left : left + 16]
                    for flip in (False, True):
                        if np.array_equal(cut[:, :: -1 if flip else 1], square):
                            found.add((index, top, left, flip))
        assert len(found) == 1
        ((_, top, left, flip),) = found
        flips += flip
        places += (top, left) != (1, 5)
    assert 0 < flips < len(source)
    assert places > len(source) // 2


def test_evaluation_gives_the_pixels_of_serving(image_folder):
    source = read_folder(image_folder())["test"]
    dataset = pipeline.evaluation(source, 16, 5)
    rows = [row for x, _ in dataset for row in x.numpy()]
    labels = [label for _, y in dataset for label in y.numpy()]
    order = pipeline.evaluation_order(source)
    assert sorted(order) == list(range(12))
    assert labels == source.labels[order].tolist()
    for index, row in zip(order, rows, strict=True):
        with open(source.describe(index), "rb") as file:
            served = read_for_evaluation(file.read(), 16)
        assert row.tobytes() == served.numpy().tobytes()


def test_evaluation_is_the_same_kept_or_not(image_folder):
    source = read_folder(image_folder())["test"]
    kept = pipeline.evaluation(source, 16, 5)
    read = pipeline.evaluation(source, 16, 5, cache_bytes=0)
    first = content(kept)
    assert first == content(kept) == content(read)
    assert [size for *_, size in first] == [5, 5, 2]


def test_evaluation_reads_no_file_twice(image_folder):
    root = image_folder()
    source = read_folder(root)["test"]
    dataset = pipeline.evaluation(source, 16, 5)
    first = content(dataset)
    for file in root.rglob("*.jpg"):
        file.unlink()
    assert content(dataset) == first


def test_small_grey_images_are_scaled_up():
    source = array_source(size=(8, 8))
    x, _ = next(iter(pipeline.evaluation(source, 32, 4)))
    assert x.shape == (4, 32, 32, 3)


def test_odd_files_give_the_same_pixels_both_ways(image_folder):
    from PIL import Image

    root = image_folder()
    for file in sorted((root / "train" / "bee").iterdir()):
        image = Image.open(file)
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(file, exif=exif, quality=95)
    source = read_folder(root)["train"]
    shapes = [i.shape for i in source.decoded(np.array([0, 4, 8]))]
    assert shapes == [(20, 30, 3), (30, 20, 3), (20, 30, 3)]
    cached = pipeline.training(source, 16, 5)
    streamed = pipeline.training(source, 16, 5, cache_bytes=0)
    assert content(cached.epoch(0)) == content(streamed.epoch(0))


def test_fewer_images_than_a_batch():
    with pytest.raises(DataError, match="20 training images, fewer than a"):
        pipeline.training(array_source(), 16, 21)
    with pytest.raises(DataError, match="batch size is 0; expected 1 or more"):
        pipeline.training(array_source(), 16, 0)


def test_loading_reports_progress():
    seen = []
    batches = pipeline.training(array_source(150), 16, 4)
    batches.load(lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen) and seen[-1] == (150, 150)
    assert len(seen) == batches.steps


@pytest.mark.parametrize("batch_size", [6, 19, 7])
def test_two_replicas_see_every_image_once(batch_size):
    # 20 images: last batches of 2, 1 and 6.
    strategy = make_strategy(2)
    batches = pipeline.training(array_source(), 16, batch_size)
    seen, rows = [], []
    for x, _ in split_for_replicas(strategy, batches.epoch(1)):
        for part in strategy.experimental_local_results(x):
            rows.append(len(part))
            seen += part[:, 0, 0, 0].numpy().tolist()
    assert sorted(seen) == list(range(20))
    assert min(rows) >= 1 and len(rows) % 2 == 0


def test_keras_fits_with_it():
    import keras

    model = keras.Sequential(
        [keras.layers.Flatten(), keras.layers.Dense(4, activation="softmax")]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    batches = pipeline.training(array_source(), 8, 6)
    for number in range(2):
        history = model.fit(batches.epoch(number), shuffle=False, verbose=0)
        assert len(history.history["loss"]) == 1
