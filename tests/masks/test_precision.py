import ml_dtypes
import numpy as np
import pytest

from packnet_tf.errors import TaskError
from packnet_tf.masks.precision import narrowed, rounded, subnormal

DTYPES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}


def numbers(size=1000):
    return np.random.default_rng(0).normal(size=size).astype("float32")


@pytest.mark.parametrize("precision", DTYPES)
def test_rounded_to_the_nearest_and_never_again(precision):
    given = numbers()
    once = rounded(given, precision, "kernel")
    assert once.dtype == np.float32 and np.any(once != given)
    expected = given.astype(DTYPES[precision]).astype("float32")
    assert once.tobytes() == expected.tobytes()
    assert rounded(once, precision, "kernel").tobytes() == once.tobytes()


@pytest.mark.parametrize("precision", DTYPES)
def test_two_bytes_a_value_if_nothing_is_lost(precision):
    given = numbers()
    assert narrowed(given, precision) is given
    once = rounded(given, precision, "kernel")
    once[:2] = 0.0, -0.0
    narrow = narrowed(once, precision)
    assert narrow.dtype == DTYPES[precision]
    assert narrow.astype("float32").tobytes() == once.tobytes()


@pytest.mark.parametrize("array", [np.arange(3), np.ones(3), np.ones(3, "f2")])
def test_other_dtypes_stay(array):
    assert rounded(array, "bfloat16", "kernel") is array
    assert narrowed(array, "bfloat16") is array


def test_float32_is_left_alone():
    given = numbers()
    assert rounded(given, "float32", "kernel") is given
    assert narrowed(np.zeros(3, "f4"), "float32").dtype == np.float32


def test_numbers_too_large_are_refused_by_name():
    given = np.array([1.0, -7e4], np.float32)
    with pytest.raises(TaskError, match="dense/kernel .* up to 7e.04, .*bfloa"):
        rounded(given, "float16", "dense/kernel")
    assert np.isfinite(rounded(given, "bfloat16", "dense/kernel")).all()
    assert narrowed(np.array([1e9], np.float32), "float16").dtype == np.float32


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_subnormal_numbers_are_those_below_the_least_normal_one(dtype):
    dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
    tiny = ml_dtypes.finfo(dtype).tiny
    least = ml_dtypes.finfo(dtype).smallest_subnormal
    numbers = [0.0, least, tiny / dtype.type(2), tiny, 1.0, np.inf, np.nan]
    array = np.array(numbers).astype(dtype)
    expected = [False, True, True, False, False, False, False]
    if dtype == np.float16:
        expected = [False] * 7
    assert subnormal(array).tolist() == expected
    assert subnormal(-array).tolist() == expected
