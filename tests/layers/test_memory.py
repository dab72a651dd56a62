"""Variables and arrays that share memory."""

import keras
import ml_dtypes
import numpy as np
import pytest

from packnet_tf.layers.memory import array_of, tensor_of, zeros_to_come
from packnet_tf.masks.aligned import aligned_zeros, is_aligned


def test_a_variable_takes_over_an_arrays_memory():
    variable = keras.Variable(np.zeros((1000, 70), np.float32))
    array = aligned_zeros((1000, 70), np.float32)
    array[:] = np.arange(70)
    variable.assign(tensor_of(array))
    held = array_of(variable)
    assert held.ctypes.data == array.ctypes.data
    assert held.tobytes() == array.tobytes()


def test_what_was_read_stays_when_the_variable_changes():
    variable = keras.Variable(np.ones(1000, np.float32))
    variable.assign(tensor_of(aligned_zeros((1000,), np.float32)))
    before = array_of(variable)
    variable.assign_add(np.ones(1000, np.float32))
    assert not before.any() and array_of(variable).all()


def test_two_variables_of_one_tensor_change_apart():
    one, two = (keras.Variable(np.ones(1000, np.float32)) for _ in range(2))
    shared = tensor_of(aligned_zeros((1000,), np.float32))
    for variable in (one, two):
        variable.assign(shared)
    del shared
    one.assign_add(np.ones(1000, np.float32))
    assert array_of(one).all() and not array_of(two).any()


@pytest.mark.parametrize(
    "array",
    [
        np.frombuffer(b"\0\0\1\2" * 30, np.float32),
        np.arange(30)[::3],
        np.arange(9).astype(ml_dtypes.bfloat16),
        np.float32(3),
        np.zeros((0, 3), np.float16),
        aligned_zeros((65,), np.uint8)[1:],
        aligned_zeros((9000,), np.float32)[1:],
    ],
    ids="read-only strided bfloat16 scalar empty elsewhere large".split(),
)
def test_any_array_becomes_a_tensor(array):
    array = np.asarray(array)
    tensor = tensor_of(array)
    assert tuple(tensor.shape) == array.shape
    assert tensor.numpy().dtype == array.dtype
    assert tensor.numpy().tobytes() == array.tobytes()
    if array.size and array.dtype != ml_dtypes.bfloat16:
        # TensorFlow ends the process where one begins elsewhere.
        assert is_aligned(np.asarray(memoryview(tensor)))


@pytest.mark.parametrize("dtype", ["float32", "uint8", "bfloat16"])
def test_variables_begin_as_zeros(dtype):
    variable = keras.Variable(zeros_to_come, shape=(3, 4), dtype=dtype)
    assert variable.dtype == dtype and not np.any(array_of(variable))
