"""Tests of the exact selection of the smallest weights."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packnet_tf.errors import PackNetError
from packnet_tf.masks.magnitude import Ranked, compared_as, free_smallest

FEW = settings(deadline=None, max_examples=40, derandomize=True)


def freed(values, number):
    """Returns which of some weights of one kernel go, in order."""
    mask = np.ones(values.shape, np.uint8)
    ranked = Ranked(values, mask, 1, "kernel")
    (new,) = free_smallest([ranked], number, compared_as([values]))
    assert new.dtype == np.uint8 and mask.all()
    return np.flatnonzero(new == 0).tolist()


def test_ties_go_by_position():
    values = np.array([2.0, -1.0, 0.0, 1.0, -0.0, 1.0, -3.0], np.float32)
    order = [2, 4, 1, 3, 5, 0, 6]
    for number in range(8):
        assert freed(values, number) == sorted(order[:number])


@FEW
@given(
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=60),
    st.data(),
)
def test_it_is_what_a_stable_sort_says(values, data):
    values = np.array(values, np.float32)
    number = data.draw(st.integers(0, values.size))
    order = np.argsort(np.abs(values), kind="stable")[:number]
    assert freed(values, number) == sorted(order.tolist())


@pytest.mark.parametrize(
    "dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
)
def test_every_dtype_of_kernels(dtype):
    random = np.random.default_rng(0)
    # Many are equal, at half the precision.
    values = (random.standard_normal(5000) * 2.0**-8).astype(dtype)
    order = np.argsort(np.abs(values.astype(np.float64)), kind="stable")
    assert freed(values, 3210) == sorted(order[:3210].tolist())


def test_values_that_differ_in_their_last_bit_alone():
    random = np.random.default_rng(0)
    for dtype, integer in ((np.float32, np.uint32), (np.float64, np.uint64)):
        one = np.ones((), dtype).view(integer)
        values = (one + random.permutation(100).astype(integer)).view(dtype)
        order = np.argsort(values)
        assert freed(values, 37) == sorted(order[:37].tolist())


@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_patterns_that_mislead_the_sample(factor):
    values = np.random.default_rng(0).standard_normal(600_000).astype("f4")
    values[::97] *= factor
    order = np.argsort(np.abs(values), kind="stable")
    for number in (1, 9_000, 300_000, 595_000, 600_000):
        assert freed(values, number) == np.sort(order[:number]).tolist()


def test_many_equal_values_over_several_blocks():
    values = np.random.default_rng(0).integers(-2, 3, 600_000).astype("f4")
    order = np.argsort(np.abs(values), kind="stable")[:400_001]
    assert freed(values, 400_001) == np.sort(order).tolist()


def test_ties_of_several_kernels_go_by_kernel():
    ranked = [
        Ranked(np.ones(3), np.full(3, 4, np.uint8), 4, "a"),
        Ranked(-np.ones(2), np.array([4, 1], np.uint8), 4, "b"),
    ]
    masks = free_smallest(ranked, 3, np.dtype(np.float64))
    assert [m.tolist() for m in masks] == [[0, 0, 0], [4, 1]]
    masks = free_smallest(ranked, 4, np.dtype(np.float64))
    assert [m.tolist() for m in masks] == [[0, 0, 0], [0, 1]]


def test_what_is_kept_is_the_last_of_the_largest():
    values = np.array([3.0, -5.0, 5.0, 1.0, 9.0])
    mask = np.array([1, 1, 1, 1, 2], np.uint8)
    kind = np.dtype(np.float64)
    ranked = Ranked(values, mask, 1, "kernel").without_last(kind)
    assert ranked.kept == 2
    (new,) = free_smallest([ranked], 3, kind)
    assert new.tolist() == [0, 0, 1, 0, 2]


def test_a_weight_is_kept_in_a_later_block():
    values = np.ones(600_000, np.float32)
    values[-7] = 2
    ranked = Ranked(values, np.ones(600_000, np.uint8), 1, "kernel")
    ranked = ranked.without_last(values.dtype)
    assert ranked.kept == 600_000 - 7
    (new,) = free_smallest([ranked], 599_999, values.dtype)
    assert np.flatnonzero(new).tolist() == [600_000 - 7]


def test_nan_has_no_rank():
    values = np.array([1.0, np.nan, np.inf], np.float32)
    with pytest.raises(PackNetError, match="kernel holds NaN.*learning rate"):
        freed(values, 1)
    assert freed(values[::2], 1) == [0]
