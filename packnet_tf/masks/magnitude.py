"""Frees an exact number of the smallest weights by magnitude.

Weights are ranked by |value|, then by kernel, then by position in the
flattened kernel. The authors' code cuts at the magnitude of a rank instead,
so that ties prune too much and rank 0 fails.

The threshold is bracketed by a sample, and only the few weights between the
brackets are sorted out; the others are counted in blocks. So hardly any memory
is needed beyond the new masks.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from packnet_tf.errors import PackNetError
from packnet_tf.masks import ownership

# What kernels can hold; all but the last are exact as float32.
DTYPES = ("float16", "bfloat16", "float32", "float64")

# Every so many weights one is sampled: a prime, as kernels have patterns.
_STEP = 97
# Half the width of the brackets, in standard errors of a rank in the sample.
_ERRORS = 6


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
        infinity = _infinity(kind)
        everything = np.asarray(self.values).reshape(-1)
        mask = np.asarray(self.mask).reshape(-1)
        for block in ownership.blocks(everything.size):
            own = mask[block] == self.owner
            if block.start <= self.kept < block.stop:
                own[self.kept - block.start] = False
            values = everything[block]
            if not own.all():
                # Several times faster than values[own].
                values = np.compress(own, values)
            keys = _keys(values, kind)
            if keys.max(initial=0) > infinity:
                raise PackNetError(
                    f"{self.name} holds NaN and cannot be ranked; the "
                    "training has diverged. Train again with a lower learning "
                    "rate."
                )
            yield block.start, own, keys

    def sample(self, kind: np.dtype) -> np.ndarray:
        """Returns the keys of some of the weights; see `blocks`."""
        values = np.asarray(self.values).reshape(-1)[::_STEP]
        own = np.asarray(self.mask).reshape(-1)[::_STEP] == self.owner
        return _keys(values[own], kind)

    @property
    def count(self) -> int:
        """How many weights may go."""
        own = np.count_nonzero(np.asarray(self.mask) == self.owner)
        return int(own) - (self.kept >= 0)

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
            # 0, which is FREE, where they go; much faster than np.where.
            owners = (~goes).view(np.uint8) * np.uint8(one.owner)
            new = flat[start : start + own.size]
            if owners.size == own.size:
                new[:] = owners
            else:
                np.place(new, own, owners)
        masks.append(mask)
    return masks


def _threshold(
    ranked: Sequence[Ranked], number: int, kind: np.dtype
) -> tuple[Any, int]:
    """Returns the key of rank `number`, and how many equal keys to take."""
    most = _infinity(kind)
    if not number:
        return most.dtype.type(0), 0
    low, high = _bracket(ranked, number, kind)
    while True:
        below, between = 0, []
        for one in ranked:
            for _, _, keys in one.blocks(kind):
                below += int(np.count_nonzero(keys < low))
                # Unsigned, so that those below `low` become large.
                between.append(keys[keys - low <= high - low])
        rank, keys = number - below, np.concatenate(between)
        if rank > keys.size and high < most:
            low, high = high, most
        elif rank < 1:
            low, high = low.dtype.type(0), low
        else:
            keys.partition(rank - 1)
            limit = keys[rank - 1]
            return limit, rank - int(np.count_nonzero(keys < limit))


def _bracket(
    ranked: Sequence[Ranked], number: int, kind: np.dtype
) -> tuple[Any, Any]:
    """Returns two keys, most likely around that of rank `number`."""
    sample = np.sort(np.concatenate([one.sample(kind) for one in ranked]))
    share = min(1.0, number / max(1, sum(one.count for one in ranked)))
    place = share * sample.size
    half = _ERRORS * (place * (1 - share)) ** 0.5 + 1
    low, high = sample.dtype.type(0), _infinity(kind)
    if place >= half:
        low = sample[int(place - half)]
    if place + half < sample.size:
        high = sample[int(place + half)]
    return low, high


def _keys(values: np.ndarray, kind: np.dtype) -> np.ndarray:
    """Returns the bits of |value|; see `Ranked.blocks`."""
    bits = values.astype(kind, copy=False).view(f"u{kind.itemsize}")
    return bits & ~bits.dtype.type(1 << (8 * kind.itemsize - 1))


def _infinity(kind: np.dtype) -> Any:
    """Returns the largest key that a number has."""
    return _keys(np.array([np.inf]), kind)[0]
