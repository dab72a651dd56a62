"""The smallest weights by magnitude, exactly as many as asked for.

Weights are ranked by |value|; equal ones by kernel, then by position in the
flattened kernel, the first going first. The authors' code cuts at the
magnitude of a rank instead, so that ties prune too much and rank 0 fails.

The cut is found by counting, 16 bits of the values at a time, in blocks:
nothing is sorted or copied, and beside the new masks next to no memory is
needed, whatever the size of the network.
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
    """The weights of one kernel that a task may give up.

    Attributes:
        values: The kernel: an array, or a variable. It is read anew whenever
            it is needed, so that a copy of a variable is not kept.
        mask: uint8, of the kernel's shape.
        owner: The task's number.
        name: What errors call the kernel.
        kept: Flat position of a weight that stays in any case, or -1.
    """

    values: Any
    mask: Any
    owner: int
    name: str
    kept: int = -1

    def blocks(
        self, kind: np.dtype
    ) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yields where a block starts, which weights may go, and their keys.

        Keys are the bits of |value| as an unsigned integer. They are ordered
        as the magnitudes are, and comparing them does not depend on whether
        the thread takes tiny floats for 0, as TensorFlow's threads do.

        Args:
            kind: float32 or float64, what the values are compared as.

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
            # compress, not values[own]: several times faster.
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
        """Returns these weights without the one that is ranked last."""
        last, highest = -1, -1
        for start, own, keys in self.blocks(kind):
            if keys.size and int(keys.max()) >= highest:
                place = keys.size - 1 - int(np.argmax(keys[::-1]))
                highest = int(keys[place])
                last = start + int(np.flatnonzero(own)[place])
        return dataclasses.replace(self, kept=last)


def compared_as(kernels: Sequence[Any]) -> np.dtype:
    """Returns a type that holds all values exactly: float32 or float64."""
    wide = any(str(kernel.dtype) == "float64" for kernel in kernels)
    return np.dtype(np.float64 if wide else np.float32)


def free_smallest(
    ranked: Sequence[Ranked], number: int, kind: np.dtype
) -> list[np.ndarray]:
    """Frees the smallest weights of one or several kernels, ranked jointly.

    Args:
        ranked: The weights.
        number: How many of them go: 0 to as many as there are.
        kind: What they are compared as; see `compared_as`.

    Returns:
        For each kernel a new mask, with exactly `number` weights less of the
        task in all.

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
        # In C order, so that the flat view below is no copy.
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
    """Returns the key ranked `number`-th, and how many equal ones to take.

    A radix selection: one pass over the keys for every 16 of their bits, from
    the top, counts those that agree with the result so far.
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
