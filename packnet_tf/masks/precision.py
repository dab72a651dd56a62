"""Rounds what a task owns, and stores what has 16 bits in two bytes a value."""

import ml_dtypes
import numpy as np

from packnet_tf.errors import TaskError
from packnet_tf.masks.aligned import aligned_zeros
from packnet_tf.masks.ownership import blocks

_DTYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float16": np.dtype("f2")}
_WHOLE = np.dtype("f4")


def rounded(array: np.ndarray, precision: str, name: str) -> np.ndarray:
    """Returns an array with each float32 rounded to the nearest 16-bit float.

    Args:
        array: Finite numbers; of another dtype than float32, they stay as
            they are.
        precision: One of `options.network.PRECISIONS`.
        name: The array's name, for the message.

    Returns:
        An array of the same dtype; if it was rounded, of `aligned_zeros`.

    Raises:
        TaskError: If a number is too large for the precision.

    Example:

    >>> rounded(np.array([1.001], np.float32), "bfloat16", "kernel")
    array([1.], dtype=float32)
    """
    dtype = _DTYPES.get(precision)
    if dtype is None or array.dtype != _WHOLE:
        return array
    values = aligned_zeros(array.shape, array.dtype)
    for block in blocks(array.size):
        part = values.reshape(-1)[block]
        with np.errstate(over="ignore"):  # Refused below.
            part[...] = array.reshape(-1)[block].astype(dtype)
        if not np.isfinite(part).all():
            largest = np.abs(array).max()
            raise TaskError(
                f"{name} has numbers up to {largest:.3g}, which {precision} "
                "does not hold; give the network packed_precision='bfloat16'."
            )
    return values


def subnormal(array: np.ndarray) -> np.ndarray:
    """Returns which numbers TensorFlow's threads read as 0.

    They are so small that float32 has no normal number for them. Adding 0 to
    one in such a thread makes it 0. Half precision is computed in float32,
    where all its numbers are normal.

    Args:
        array: Floats of any precision.

    Returns:
        Booleans of the array's shape.

    Example:

    >>> subnormal(np.array([1e-40, 0.0, 1.0], np.float32))
    array([ True, False, False])
    """
    if array.dtype == np.float16:
        return np.zeros(array.shape, bool)
    integer = np.dtype(f"u{array.dtype.itemsize}")
    least = np.asarray(ml_dtypes.finfo(array.dtype).tiny).view(integer)
    sign = integer.type(1 << (8 * integer.itemsize - 1))
    numbers = np.ascontiguousarray(array).reshape(-1).view(integer)
    found = np.empty(numbers.shape, bool)
    for block in blocks(numbers.size):
        magnitude = numbers[block] & ~sign
        found[block] = (magnitude > 0) & (magnitude < least)
    return found.reshape(array.shape)


def narrowed(array: np.ndarray, precision: str) -> np.ndarray:
    """Returns an array in two bytes a value, if that loses nothing.

    Args:
        array: The array.
        precision: One of `options.network.PRECISIONS`.

    Returns:
        The array in that dtype; itself if it is not float32, or holds a
        number that was not rounded to it.
    """
    dtype = _DTYPES.get(precision)
    if dtype is None or array.dtype != _WHOLE:
        return array
    with np.errstate(over="ignore"):
        narrow = array.astype(dtype)
    same = narrow.astype(_WHOLE).tobytes() == array.tobytes()
    return narrow if same else array
