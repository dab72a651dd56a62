"""Tests of packnet_tf/data/images/pixel_path.py."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support.image_files import encoded, pixels

from packnet_tf.data.images.pixel_path import (
    decode,
    evaluation_resize,
    read_for_evaluation,
    working_image,
)
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.images.transcode import as_readable
from packnet_tf.errors import DataError


def decoded(content):
    return decode(as_readable(content)).numpy()


def test_resizing_is_tensorflows():
    for size in ((60, 90), (33, 31), (200, 150)):
        image = pixels(*size)
        work = working_image(image, 28, Preprocessing())
        expected = tf.image.resize(
            image, work.shape[:2], "bilinear", antialias=True
        )
        assert np.array_equal(work, np.rint(expected).astype(np.uint8))


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "WEBP"])
def test_truncated_images_are_refused(kind):
    content = encoded(Image.fromarray(pixels(200, 300)), kind)
    with pytest.raises(DataError, match="corrupt"):
        read_for_evaluation(content[: len(content) // 2], 16)


@pytest.mark.parametrize(
    "size, expected", [((37, 50), (37, 50)), ((50, 37), (50, 37))]
)
def test_identical_size_keeps_the_pixels(size, expected):
    # 32 * 8 / 7 rounds to 37.
    image = pixels(*size)
    working = working_image(image, 32, Preprocessing())
    assert working.shape == (*expected, 3)
    assert np.array_equal(working, image)


@pytest.mark.parametrize("size", [(20, 30), (300, 100), (7, 7), (99, 41)])
def test_short_side_is_exact_and_ratio_kept(size):
    working = working_image(pixels(*size), 32, Preprocessing())
    sides = np.array(working.shape[:2])
    assert sides.min() == 37
    assert abs(sides.max() - 37 * max(size) / min(size)) <= 0.5


def test_squash_without_crop_is_not_cut():
    squash = Preprocessing(resize="squash", crop="none")
    assert squash.working_size(32) == 32
    image = pixels(20, 50)
    assert working_image(image, 32, squash).shape == (32, 32, 3)
    assert np.array_equal(
        evaluation_resize(image, 32, squash),
        tf.cast(working_image(image, 32, squash), tf.float32),
    )


def test_squash_with_crop_has_a_margin():
    squash = Preprocessing(resize="squash")
    working = working_image(pixels(20, 50), 32, squash)
    assert working.shape == (37, 37, 3)


def test_evaluation_is_the_centre_of_whole_levels():
    image = pixels(60, 90)
    result = evaluation_resize(image, 32).numpy()
    assert result.dtype == np.float32 and result.shape == (32, 32, 3)
    assert np.array_equal(result, np.round(result))
    assert result.min() >= 0 and result.max() <= 255
    working = working_image(image, 32, Preprocessing()).numpy()
    left = (working.shape[1] - 32) // 2
    assert np.array_equal(result, working[2:34, left : left + 32])


def test_evaluation_is_the_same_in_a_graph_of_any_image():
    graph = tf.function(
        lambda content: evaluation_resize(decode(content), 32),
        input_signature=[tf.TensorSpec([], tf.string)],
    )
    for seed, size in enumerate([(60, 90), (33, 31), (8, 8)]):
        image = Image.fromarray(pixels(*size, seed=seed))
        content = encoded(image, "JPEG")
        eager = read_for_evaluation(content, 32)
        assert eager.numpy().tobytes() == graph(content).numpy().tobytes()


def test_facts_round_trip():
    chosen = Preprocessing("squash", "none", False, True)
    facts = {"other": 1, **chosen.to_facts()}
    assert Preprocessing.from_facts(facts) == chosen


@pytest.mark.parametrize("wrong", [{"resize": "tile"}, {"crop": "corner"}])
def test_unknown_choices_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(DataError, match=name):
        Preprocessing(**wrong)
