"""Tests of packnet_tf/data/splits.py."""

import numpy as np
import pytest

from packnet_tf.data import splits
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.sources.arrays import ArraySource
from packnet_tf.errors import DataError


def source(count=1000, classes=10, distinct=None):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (distinct or count, 4, 4), np.uint8)
    pixels = np.concatenate([pixels] * (count // len(pixels)))
    names = [str(i) for i in range(classes)]
    return ArraySource(
        pixels, np.arange(count) % classes, names, Preprocessing()
    )


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_parts_are_disjoint_and_about_the_share(share):
    whole = source()
    train, validation = splits.split(whole, share, 0)
    assert len(train) + len(validation) == 1000
    assert abs(len(validation) - 1000 * share) < 60
    assert not set(train.ids.tolist()) & set(validation.ids.tolist())


def test_no_share_is_no_validation():
    train, validation = splits.split(source(), 0, 0)
    assert len(train) == 1000 and len(validation) == 0


def test_split_does_not_depend_on_order_or_on_others():
    whole = source()
    _, validation = splits.split(whole, 0.2, 0)
    some = np.random.default_rng(1).permutation(1000)[:400]
    _, fewer = splits.split(whole.subset(some), 0.2, 0)
    expected = set(validation.ids.tolist()) & set(whole.ids[some].tolist())
    assert set(fewer.ids.tolist()) == expected


def test_seed_changes_the_split():
    a, b = (splits.split(source(), 0.2, seed)[1] for seed in (0, 1))
    assert set(a.ids.tolist()) != set(b.ids.tolist())


def test_copies_stay_together():
    train, validation = splits.split(source(1000, 2, distinct=100), 0.3, 0)
    assert not set(train.ids.tolist()) & set(validation.ids.tolist())
    assert len(validation) % 10 == 0


@pytest.mark.parametrize("seed", range(5))
def test_every_class_stays_in_training(seed):
    train, validation = splits.split(source(40, 20), 0.9, seed)
    assert set(train.labels.tolist()) == set(range(20))
    assert len(validation) > 0


def test_small_sets_have_some_validation():
    for seed in range(20):
        _, validation = splits.split(source(20, 2), 0.01, seed)
        assert len(validation) >= 1


@pytest.mark.parametrize("share", [-0.1, 1, 1.5])
def test_share_out_of_range(share):
    with pytest.raises(DataError, match="validation share"):
        splits.split(source(), share, 0)


def test_stratified_parts_are_exact():
    whole = source()
    train, test = splits.stratified_parts(whole.ids, whole.labels, 0.2)
    assert np.bincount(whole.labels[test]).tolist() == [20] * 10
    both = np.concatenate([train, test])
    assert np.array_equal(np.sort(both), np.arange(1000))


def test_validation_is_independent_of_the_test_part():
    whole = source()
    train, _ = splits.stratified_parts(whole.ids, whole.labels, 0.2)
    _, validation = splits.split(whole.subset(train), 0.1, 0)
    assert abs(len(validation) - 80) < 30
