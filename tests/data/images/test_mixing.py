"""Tests of packnet_tf/data/images/mixing.py and randaugment.py."""

import numpy as np
import pytest
from PIL import Image

from packnet_tf.data.images import mixing, randaugment
from packnet_tf.errors import DataError
from packnet_tf.options.augmentation import Augmentation

COUNT, SIZE = 40, 12
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)
LABELS = np.arange(COUNT, dtype=np.int32) % 5
IDS = RANDOM.integers(0, 2**64, COUNT, np.uint64)


def apply(choice, seed=0, epoch=0, pixels=PIXELS, ids=IDS):
    labels = LABELS[: len(ids)]
    return mixing.apply(choice, pixels, labels, ids, 5, seed, epoch)


def test_parse():
    assert Augmentation.parse("") == Augmentation()
    assert Augmentation.parse("randaugment, mixup:0.4") == Augmentation(9, 0.4)
    assert not Augmentation.parse("randaugment").soft
    assert Augmentation.parse("cutmix").soft
    assert Augmentation.parse("mixup:0,randaugment:0.001").mixup == 0
    facts = Augmentation.parse("cutmix").to_facts()
    assert Augmentation(**facts).cutmix == 1.0


@pytest.mark.parametrize(
    "text, named",
    [
        ("autoaugment", "'autoaugment': expected randaugment"),
        ("mixup:much", "'mixup:much'"),
        ("mixup:nan", "'mixup:nan'"),
        ("mixup,mixup", "each once"),
        ("mixup:3", "mixup:3: expected 0 to 2"),
        # Drawing a share would never end.
        ("mixup:1e-9", "mixup:1e-09: expected 0.01 to 2, or 0 for none"),
        ("cutmix:0.009", "cutmix:0.009: expected 0.01 to 2, or 0"),
        ("randaugment:-1", "randaugment:-1: expected 0 to 10"),
    ],
)
def test_wrong_choices_are_named(text, named):
    with pytest.raises(DataError, match=named):
        Augmentation.parse(text)


def test_nothing_chosen_changes_nothing():
    pixels, labels = apply(Augmentation())
    assert pixels is PIXELS and np.array_equal(labels, LABELS)


@pytest.mark.parametrize("text", ["randaugment", "mixup", "cutmix"])
def test_functions_of_seed_epoch_and_example(text):
    choice = Augmentation.parse(text)
    first, again = apply(choice, 1, 2)[0], apply(choice, 1, 2)[0]
    assert first.tobytes() == again.tobytes()
    for other in ((2, 2), (1, 3)):
        assert apply(choice, *other)[0].tobytes() != first.tobytes()


def test_randaugment_does_not_depend_on_the_batch():
    choice = Augmentation.parse("randaugment")
    whole = apply(choice)[0]
    part = apply(choice, pixels=PIXELS[5:9], ids=IDS[5:9])[0]
    assert np.array_equal(whole[5:9], part)
    assert whole.dtype == np.uint8


@pytest.mark.parametrize("which", range(len(randaugment._OPERATIONS)))
def test_operations_keep_shape_and_grow_with_magnitude(which):
    operation = randaugment._OPERATIONS[which]
    coarse = RANDOM.integers(40, 200, (6, 6, 3)).astype(np.uint8)
    image = Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC)
    plain = np.asarray(image).astype(int)
    change = []
    for strength in (0.2, 0.9):
        for sign in (-1, 1):
            found = operation(image, sign * strength)
            assert found.size == image.size and found.mode == "RGB"
            change.append(np.abs(np.asarray(found) - plain).mean())
    assert which == 0 or max(change[2:]) > 0
    assert max(change[2:]) >= max(change[:2])


def test_mixup_blends_with_the_next_and_shares_the_label():
    pixels, labels = apply(Augmentation(mixup=0.8))
    assert pixels.dtype == labels.dtype == np.float32
    own = labels[np.arange(COUNT), LABELS]
    assert np.allclose(labels.sum(axis=1), 1)
    assert 0.2 < np.mean(own) < 0.8 and own.min() < 0.1 and own.max() > 0.9
    for row in range(COUNT):
        following = PIXELS[(row + 1) % COUNT]
        share = np.float32(own[row])
        expected = PIXELS[row] * share + (1 - share) * following
        assert np.allclose(pixels[row], expected, atol=1e-3)


def test_cutmix_shares_by_area():
    pixels, labels = apply(Augmentation(cutmix=1.0))
    own = labels[np.arange(COUNT), LABELS]
    for row in range(COUNT):
        following = PIXELS[(row + 1) % COUNT]
        kept = np.all(pixels[row] == PIXELS[row], axis=-1)
        taken = np.all(pixels[row] == following, axis=-1)
        assert np.all(kept | taken)
        assert abs(kept.mean() - own[row]) < 1e-6
    assert own.min() < 0.5 < own.max()


def test_both_take_turns():
    pixels, _ = apply(Augmentation(mixup=1.0, cutmix=1.0))
    whole = np.all(pixels == np.rint(pixels), axis=(1, 2, 3))
    assert 0.2 < whole.mean() < 0.8


def test_a_batch_of_one_stays_as_it_is():
    choice = Augmentation(cutmix=1.0)
    pixels, labels = apply(choice, pixels=PIXELS[:1], ids=IDS[:1])
    assert np.array_equal(pixels, PIXELS[:1])
    assert labels.tolist() == [[1, 0, 0, 0, 0]]
