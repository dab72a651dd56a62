"""Frees an exact number of the smallest weights by magnitude.

Weights are ranked by |value|, then by kernel, then by position in the
flattened kernel. The authors' code cuts at the magnitude of a rank instead,
so that ties prune too much and rank 0 fails.

The threshold is found by radix selection, 16 bits at a time, in blocks:
nothing is sorted or copied, so hardly any memory is needed beyond the new
masks.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from packnet_tf.errors import PackNetError
from packnet_tf.masks import ownership

# What kernels can hold; all but the last are exact as float32.
DTYPES = ("float16", "bfloat16", "float32", "float64")

_DIGIT = 16  # bits of a key counted at a time


@dataclasses.dataclass(frozen=True)
class Ranked:
    """The weights of one kernel that a task may free.

    Attributes:
        values: The kernel, an array or a variable. It is read each time, so
            that no copy of a variable is kept.
        mask: uint8, of the kernel's shape.
        owner: The task's number.
        name: The kernel's name in errors.
        kept: Flat position of a weight that always stays, or -1.
    """

    values: Any
    mask: Any
    owner: int
    name: str
    kept: int = -1

    def blocks(
        self, kind: np.dtype
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yields each block's start, the weights that may go, and their keys.

        Keys are the bits of |value| as unsigned integers. They have the order
        of the magnitudes, even in threads that flush denormals to 0, as
        TensorFlow's do.

        Args:
            kind: The dtype for comparisons, float32 or float64.

        Raises:
            PackNetError: If a weight of the task is NaN, which has no rank.
        """
        integer = _integer(kind)
        sign = integer.type(1 << (8 * kind.itemsize - 1))
        infinity = np.array(np.inf, kind).view(integer)
        everything = np.asarray(self.values).reshape(-1)
        mask = np.asarray(self.mask).reshape(-1)
        for block in ownership.blocks(everything.size):
            own = mask[block] == self.owner
            if block.start <= self.kept < block.stop:
                own[self.kept - block.start] = False
            # Several times faster than values[own].
            values = np.compress(own, everything[block])
            keys = values.astype(kind, copy=False).view(integer) & ~sign
            if keys.max(initial=0) > infinity:
                raise PackNetError(
                    f"{self.name} holds NaN and cannot be ranked; the "
                    "training has diverged. Train again with a lower learning "
                    "rate."
                )
            yield block.start, own, keys

    def without_last(self, kind: np.dtype) -> "Ranked":
        """Returns these weights without the one ranked last."""
        last, highest = -1, -1
        for start, own, keys in self.blocks(kind):
            if keys.size and int(keys.max()) >= highest:
                place = keys.size - 1 - int(np.argmax(keys[::-1]))
                highest = int(keys[place])
                last = start + int(np.flatnonzero(own)[place])
        return dataclasses.replace(self, kept=last)


def compared_as(kernels: Sequence[Any]) -> np.dtype:
    """Returns float32, or float64 if any kernel needs it."""
    wide = any(str(kernel.dtype) == "float64" for kernel in kernels)
    return np.dtype(np.float64 if wide else np.float32)


def free_smallest(
    ranked: Sequence[Ranked], number: int, kind: np.dtype
) -> list[np.ndarray]:
    """Frees the smallest weights of one or several kernels, ranked jointly.

    Args:
        ranked: The weights.
        number: How many to free, from 0 to all of them.
        kind: The dtype for comparisons; see `compared_as`.

    Returns:
        A new mask for each kernel; together they have exactly `number` fewer
        weights of the task.

    Raises:
        PackNetError: If a weight of the task is NaN.

    Example:
        >>> kernel = np.array([3.0, -1.0, 1.0, 0.5], np.float32)
        >>> ranked = Ranked(kernel, np.ones(4, np.uint8), 1, "kernel")
        >>> free_smallest([ranked], 2, kernel.dtype)
        [array([1, 0, 1, 0], dtype=uint8)]
    """
    limit, ties = _threshold(ranked, number, kind)
    masks = []
    for one in ranked:
        # In C order, so that the flat view below is not a copy.
        mask = np.array(one.mask, np.uint8, order="C")
        flat = mask.reshape(-1)
        for start, own, keys in one.blocks(kind):
            goes = keys < limit
            if ties:
                equal = np.flatnonzero(keys == limit)[:ties]
                goes[equal] = True
                ties -= equal.size
            owners = np.where(
                goes, np.uint8(ownership.FREE), np.uint8(one.owner)
            )
            np.place(flat[start : start + own.size], own, owners)
        masks.append(mask)
    return masks


def _threshold(
    ranked: Sequence[Ranked], number: int, kind: np.dtype
) -> tuple[np.unsignedinteger, int]:
    """Returns the key of rank `number`, and how many equal keys to take.

    Each pass of the radix selection counts 16 bits, from the top, of the keys
    that match the result so far.
    """
    integer = _integer(kind)
    prefix, rest = 0, number
    bits = 8 * kind.itemsize
    for shift in range(bits - _DIGIT, -1, -_DIGIT):
        totals = np.zeros(1 << _DIGIT, np.int64)
        for one in ranked:
            for _, _, keys in one.blocks(kind):
                if shift < bits - _DIGIT:
                    top = keys >> integer.type(shift + _DIGIT)
                    keys = keys[top == integer.type(prefix)]
                digits = (keys >> integer.type(shift)).astype(np.uint16)
                totals += np.bincount(digits, minlength=1 << _DIGIT)
        reached = np.cumsum(totals)
        digit = int(np.searchsorted(reached, rest))
        if digit:
            rest -= int(reached[digit - 1])
        prefix = prefix << _DIGIT | digit
    return integer.type(prefix), rest


def _integer(kind: np.dtype) -> np.dtype:
    return np.dtype(f"u{kind.itemsize}")
