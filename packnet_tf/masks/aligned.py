"""Arrays whose memory TensorFlow takes over as it is."""

import math
from collections.abc import Sequence

import numpy as np

# TensorFlow ends the process where a tensor begins elsewhere (Eigen's
# EIGEN_MAX_ALIGN_BYTES).
_BYTES = 64


def aligned_zeros(shape: Sequence[int], dtype: np.dtype | type) -> np.ndarray:
    """Returns zeros, as `np.zeros`, that begin at a multiple of 64 bytes.

    Memory that is never written is never taken from the system.

    Args:
        shape: The array's shape.
        dtype: Its type.

    Example:

    >>> aligned_zeros((2,), np.float32)
    array([0., 0.], dtype=float32)
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    memory = np.zeros(size + _BYTES, np.uint8)
    start = -memory.ctypes.data % _BYTES
    return memory[start : start + size].view(dtype).reshape(shape)


def is_aligned(array: np.ndarray) -> bool:
    """Whether an array begins where those of `aligned_zeros` do."""
    return array.ctypes.data % _BYTES == 0


def aligned_copy(array: np.ndarray) -> np.ndarray:
    """Returns a copy of an array that begins at a multiple of 64 bytes."""
    copied = aligned_zeros(array.shape, array.dtype)
    copied[...] = array
    return copied
