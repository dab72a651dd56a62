"""Variables and arrays that share memory, so that nothing is copied."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.masks.aligned import (
    aligned_copy,
    aligned_zeros,
    is_aligned,
)


def array_of(variable: keras.Variable) -> np.ndarray:
    """Returns what a variable holds now, as a read-only array.

    Where it can, the array is the variable's own memory, so that reading a
    large kernel costs nothing. TensorFlow gives the variable other memory
    with the next change, so the array stays as it is.
    """
    with tf.init_scope():
        tensor = tf.convert_to_tensor(variable.value)
        try:
            return np.asarray(memoryview(tensor))
        except ValueError:  # Python's buffers know no bfloat16.
            return tensor.numpy()


def tensor_of(array: np.ndarray) -> tf.Tensor:
    """Returns the values of an array of `aligned_zeros` as a tensor.

    It is the array's own memory, so nobody may write to the array afterwards.
    Arrays of other kinds are copied.
    """
    # Not what others may hold, nor types that are not NumPy's own.
    if not array.flags.carray or array.dtype.kind not in "fiu":
        return tf.convert_to_tensor(array)
    if not is_aligned(array):
        array = aligned_copy(array)
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def put(variable: Any, array: np.ndarray) -> None:
    """Assigns a copy of an array, as `variable.assign`.

    TensorFlow would keep the memory of the copy for good.
    """
    variable.assign(tensor_of(aligned_copy(np.asarray(array))))


def zeros_to_come(shape: Sequence[int], dtype: str) -> tf.Tensor:
    """An initializer for variables that are assigned before they are read."""
    return tensor_of(aligned_zeros(shape, tf.as_dtype(dtype).as_numpy_dtype))
