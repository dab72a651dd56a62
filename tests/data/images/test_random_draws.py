"""Tests of packnet_tf/data/images/random_draws.py."""

import numpy as np

from packnet_tf.data.images import random_draws

IDS = np.random.default_rng(0).integers(0, 2**64, 5000, np.uint64)
LABELS = np.arange(5000, dtype=np.int32) % 7


def test_order_is_a_permutation_over_the_whole_set():
    order = random_draws.draw(0, 0, IDS, LABELS).order
    assert np.array_equal(np.sort(order), np.arange(5000))
    # Not near to where they were: a small buffer would leave it so.
    assert np.mean(np.abs(order - np.arange(5000))) > 1500


def test_draws_repeat_and_depend_on_seed_and_epoch():
    first, again, *others = (
        random_draws.draw(seed, epoch, IDS, LABELS)
        for seed, epoch in ((1, 2), (1, 2), (2, 1), (1, 3), (-1, 2))
    )
    for name in ("order", "top", "left", "flip"):
        value = getattr(first, name)
        assert value.tobytes() == getattr(again, name).tobytes()
        for other in others:
            assert value.tobytes() != getattr(other, name).tobytes()


def test_draws_follow_the_example_not_its_place():
    shuffle = np.random.default_rng(1).permutation(5000)
    a = random_draws.draw(3, 4, IDS, LABELS)
    b = random_draws.draw(3, 4, IDS[shuffle], LABELS[shuffle])
    assert np.array_equal(IDS[a.order], IDS[shuffle][b.order])
    for name in ("top", "left", "flip"):
        assert np.array_equal(getattr(a, name)[shuffle], getattr(b, name))


def test_an_example_keeps_its_draws_when_others_leave():
    a = random_draws.draw(3, 4, IDS, LABELS)
    b = random_draws.draw(3, 4, IDS[:100], LABELS[:100])
    assert np.array_equal(a.top[:100], b.top)
    kept = a.order[a.order < 100]
    assert np.array_equal(kept, b.order)


def test_draws_are_uniform_and_independent():
    draws = random_draws.draw(0, 0, IDS, LABELS)
    rank = np.argsort(draws.order) / 5000
    columns = [rank, draws.top, draws.left, draws.flip.astype(float)]
    for column in columns:
        assert 0 <= column.min() and column.max() <= 1
        assert abs(column.mean() - 0.5) < 0.03
    shares = np.histogram(draws.top, 10, (0, 1))[0] / 5000
    assert np.all(np.abs(shares - 0.1) < 0.02)
    correlation = np.corrcoef(columns) - np.eye(4)
    assert np.abs(correlation).max() < 0.06


def test_close_ids_draw_far_apart():
    ids = np.arange(5000, dtype=np.uint64)
    draws = random_draws.draw(0, 0, ids, LABELS)
    assert abs(np.corrcoef(draws.top[1:], draws.top[:-1])[0, 1]) < 0.06


def test_equal_bytes_are_ordered_by_label():
    ids = np.array([5, 5, 9], np.uint64)
    a = random_draws.draw(0, 0, ids, np.array([1, 0, 0]))
    b = random_draws.draw(0, 0, ids, np.array([0, 1, 0]))
    swapped = np.array([1, 0, 2])
    assert np.array_equal(swapped[a.order], b.order)


def test_the_numbers_never_change():
    # Stored runs are resumed by them.
    draws = random_draws.draw(7, 3, np.arange(6, dtype=np.uint64), LABELS[:6])
    assert draws.order.tolist() == [4, 0, 2, 1, 3, 5]
    assert draws.flip.tolist() == [
        True,
        True,
        False,
        False,
        True,
        True,
    ]
    assert float(draws.top[0]).hex() == "0x1.31a8308096a23p-1"


def test_resized_windows_are_those_of_the_paper():
    sides = np.tile([[256, 341], [300, 256]], (2500, 1))
    windows = random_draws.resized_windows(0, 1, IDS, sides)
    top, left, height, width = windows.T
    assert np.all(top >= 0) and np.all(top + height <= sides[:, 0])
    assert np.all(left >= 0) and np.all(left + width <= sides[:, 1])
    area = height * width / sides.prod(axis=1)
    assert 0.079 < area.min() < 0.09 and 0.95 < area.max() <= 1
    aspect = width / height
    assert aspect.min() > 0.74 and aspect.max() < 1.35
    assert abs(np.mean(aspect > 1) - 0.5) < 0.03


def test_resized_windows_fall_back_to_the_centre():
    # No rectangle of these aspects has 8 % of so long an image.
    sides = np.tile([[10, 4000]], (5, 1))
    windows = random_draws.resized_windows(0, 0, IDS[:5], sides)
    assert windows.tolist() == [[0, 1995, 10, 10]] * 5


def test_resized_windows_follow_the_example():
    sides = np.tile([[64, 80]], (5000, 1))
    whole = random_draws.resized_windows(3, 4, IDS, sides)
    part = random_draws.resized_windows(3, 4, IDS[7:9], sides[7:9])
    assert np.array_equal(whole[7:9], part)
    other = random_draws.resized_windows(3, 5, IDS, sides)
    assert np.mean(whole == other) < 0.2
