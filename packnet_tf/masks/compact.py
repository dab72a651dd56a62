"""Leaves free weights, which are 0, out of files, and puts them back.

What is left of a kernel has one dimension: its owned weights, in their order.
The mask says where they were.
"""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from packnet_tf.errors import StateError
from packnet_tf.masks.aligned import aligned_zeros
from packnet_tf.masks.ownership import FREE, blocks

# A kernel of which less is owned is stored whole, so that a file cannot ask for
# much more memory than it has bytes.
LEAST_SHARE = 1 / 5
# How many bytes in memory a byte of a file may become: four of a weight and one
# of its mask for the two that a rounded weight has.
MOST_TIMES = (4 + 1) / (2 * LEAST_SHARE)


def without_free(value: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """Returns the owned weights of a kernel.

    Args:
        value: The kernel.
        mask: The owner of each weight, of the kernel's shape.

    Returns:
        An array of one dimension, or None if the kernel is to be stored whole:
        if nothing or too much is free, or if a free weight is not +0.0, as in
        a network that has no tasks.

    Example:

    >>> without_free(np.float32([[1, 0], [2, 3]]), np.uint8([[1, 0], [1, 2]]))
    array([1., 2., 3.], dtype=float32)
    """
    size = value.size
    count = int(np.count_nonzero(mask))
    if count == size or count < LEAST_SHARE * size:
        return None
    flat, owners = value.reshape(-1), mask.reshape(-1)
    found = np.empty(count, value.dtype)
    # Of -0.0 not every bit is 0.
    bits = np.dtype(f"u{value.dtype.itemsize}")
    done = 0
    for block in blocks(size):
        here = owners[block] != FREE
        end = done + int(np.count_nonzero(here))
        owned = np.compress(here, flat[block], out=found[done:end])
        if np.count_nonzero(owned.view(bits)) != np.count_nonzero(
            flat[block].view(bits)
        ):
            return None
        done = end
    return found


def with_free(
    owned: np.ndarray, mask: np.ndarray, dtype: np.dtype
) -> np.ndarray:
    """Returns the kernel of which `without_free` left the owned weights.

    Args:
        owned: As `without_free` returned it, or as it lies in a file.
        mask: The owner of each weight.
        dtype: The kernel's type. A file's own could be of any size.

    Raises:
        StateError: If they are not as many as the mask says, or no numbers.

    Example:

    >>> mask = np.uint8([[1, 0], [1, 2]])
    >>> with_free(np.float32([1, 2, 3]), mask, np.float32)
    array([[1., 0.],
           [2., 3.]], dtype=float32)
    """
    expected = int(np.count_nonzero(mask))
    if owned.shape != (expected,):
        raise StateError(
            f"A kernel is damaged: {expected} weights of it are owned, and "
            f"{owned.shape} are stored. Use another copy of the file, or an "
            "earlier packed state."
        )
    if not np.can_cast(owned.dtype, np.float64, "same_kind"):
        raise StateError(
            f"A kernel is damaged: its weights are stored as {owned.dtype}. "
            "Use another copy of the file, or an earlier packed state."
        )
    owned = np.asarray(owned)
    value = aligned_zeros((mask.size,), dtype)
    owners = mask.reshape(-1)
    parts = [*blocks(mask.size)]
    counts = [int(np.count_nonzero(owners[block])) for block in parts]
    ends = itertools.accumulate(counts)

    def put(block: slice, count: int, end: int) -> None:
        value[block][owners[block] != FREE] = owned[end - count : end]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # Asked for the results, which are none, it raises what was raised.
        [*pool.map(put, parts, counts, ends)]
    return value.reshape(mask.shape)
