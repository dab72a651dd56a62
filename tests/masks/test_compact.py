"""Kernels that are stored without their free weights."""

import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from packnet_tf.errors import StateError
from packnet_tf.masks.compact import LEAST_SHARE, with_free, without_free


def kernel_of(mask, dtype=np.float32, seed=0):
    value = np.random.default_rng(seed).normal(size=mask.shape).astype(dtype)
    return np.where(mask != 0, value, np.zeros((), dtype))


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=60),
    st.sampled_from([np.float16, np.float32]),
)
def test_what_is_left_out_comes_back(owners, dtype):
    mask = np.uint8(owners)
    value = kernel_of(mask, dtype)
    stored = without_free(value, mask)
    owned = np.count_nonzero(mask)
    if owned == mask.size or owned < LEAST_SHARE * mask.size:
        assert stored is None
        return
    assert stored.shape == (owned,) and stored.dtype == dtype
    assert with_free(stored, mask, dtype).tobytes() == value.tobytes()


def test_kernels_of_several_blocks_and_dimensions():
    random = np.random.default_rng(0)
    mask = random.integers(0, 4, (3, 1100, 1000), np.uint8)
    value = kernel_of(mask)
    stored = without_free(value, mask)
    np.testing.assert_array_equal(stored, value[mask != 0])
    assert with_free(stored, mask, np.float32).tobytes() == value.tobytes()


@pytest.mark.parametrize("free", [-0.0, 1e-45, np.nan, 1.0])
def test_a_free_weight_that_is_not_zero_keeps_the_kernel_whole(free):
    mask = np.uint8([1, 1, 0, 2])
    assert without_free(np.float32([1, 2, free, 3]), mask) is None
    assert without_free(np.float32([1, 2, 0, 3]), mask) is not None
    # An owned one may have any bytes.
    assert without_free(np.float32([free, 2, 0, 3]), mask) is not None


@pytest.mark.parametrize("stored", [(2,), (4,), (3, 1)])
def test_another_number_of_weights_is_refused(stored):
    with pytest.raises(StateError, match="3 weights of it are owned"):
        with_free(
            np.ones(stored, np.float32), np.uint8([1, 0, 1, 2]), np.float32
        )


@pytest.mark.parametrize("kind", ["V4000", "S4000", "c8"])
def test_weights_that_are_no_numbers_take_no_memory(kind):
    mask = np.zeros(1 << 20, np.uint8)
    mask[0] = 1
    tracemalloc.start()
    with pytest.raises(StateError, match="stored as"):
        with_free(np.zeros(1, kind), mask, np.float32)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_weights_of_another_type_become_the_kernels():
    mask = np.uint8([1, 0, 2])
    found = with_free(np.float64([1, 2]), mask, ml_dtypes.bfloat16)
    assert found.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(found, [1, 0, 2])
