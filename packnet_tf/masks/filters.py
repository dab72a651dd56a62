"""Ranks and frees the output channels of a kernel, to prune by filter.

The paper compares its pruning of single weights with that of whole filters.
Here channels are ranked by the mean absolute value of the weights that the
task in training owns in them. Weights of older tasks do not count, since they
stay in any case.

Each channel is treated as one weight, the mean, with an owner, so that the
code for weights also counts, ranks and frees channels.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from packnet_tf.errors import PackNetError
from packnet_tf.masks import ownership

# Who owns a channel: the task; nobody, because the task freed it; or only
# older tasks.
OWNED, FREED, OTHERS = 1, ownership.FREE, 2


@dataclasses.dataclass(frozen=True)
class Channels:
    """The output channels of one kernel from the perspective of one task.

    Attributes:
        means: float64 of shape [channels]: mean absolute value of the weights
            that the task owns in a channel, or 0 if it owns none.
        mask: uint8 of the same shape: `OWNED`, `FREED` or `OTHERS`.
    """

    means: np.ndarray
    mask: np.ndarray


def channels_of(
    kernel: Any, mask: Any, owner: int, axes: Sequence[int], name: str
) -> Channels:
    """Returns the output channels of a kernel.

    Args:
        kernel: The weights of all tasks: an array, or a variable.
        mask: uint8, of the kernel's shape.
        owner: Number of the task in training. It had claimed all free
            weights, so weights that are free now count as freed by it.
        axes: The kernel's channel axes; channels are numbered by them in
            row-major order.
        name: The kernel's name in errors.

    Raises:
        PackNetError: If the kernel has no such axis.

    Example:
        >>> channels_of(
        ...     np.array([[1.0, 4.0], [-3.0, 0.0]]),
        ...     np.array([[2, 2], [2, 1]], np.uint8),
        ...     owner=2, axes=(-1,), name="kernel",
        ... ).means
        array([2., 4.])
    """
    values, owners = np.asarray(kernel), np.asarray(mask)
    numbers = _Numbers(values.shape, axes, name)
    sums = np.zeros(numbers.count)
    owned = np.zeros(numbers.count, np.int64)
    freed = np.zeros(numbers.count, np.bool_)
    flat, owners = values.reshape(-1), owners.reshape(-1)
    for block, channel in numbers.blocks():
        own = owners[block] == owner
        theirs = np.compress(own, channel)
        # Added one by one in float64, so that channels with equal weights
        # have equal sums for any block limits and instruction set.
        weights = np.compress(own, flat[block]).astype(np.float64)
        np.add.at(sums, theirs, np.abs(weights))
        np.add.at(owned, theirs, 1)
        freed[channel[owners[block] == ownership.FREE]] = True
    state = np.full(numbers.count, OTHERS, np.uint8)
    state[freed] = FREED
    state[owned > 0] = OWNED
    return Channels(sums / np.maximum(owned, 1), state)


def free_channels(
    mask: Any, owner: int, axes: Sequence[int], gone: np.ndarray, name: str
) -> np.ndarray:
    """Returns a mask with a task's weights in some channels freed.

    Args:
        mask: uint8 mask of the kernel.
        owner: Number of the task; weights of others do not change.
        axes: The kernel's channel axes.
        gone: bool array of shape [channels], True for channels to free.
        name: The kernel's name in errors.

    Example:
        >>> free_channels(
        ...     np.array([[2, 2], [2, 1]], np.uint8), owner=2, axes=(-1,),
        ...     gone=np.array([False, True]), name="kernel",
        ... )
        array([[2, 0],
               [2, 1]], dtype=uint8)
    """
    # In C order, so that the flat view below is not a copy.
    new = np.array(mask, np.uint8, order="C")
    flat = new.reshape(-1)
    for block, channel in _Numbers(new.shape, axes, name).blocks():
        part = flat[block]
        part[(part == owner) & gone[channel]] = ownership.FREE
    return new


class _Numbers:
    """Computes the channel number of each weight of a kernel."""

    def __init__(self, shape: Sequence[int], axes: Sequence[int], name: str):
        rank = len(shape)
        if any(not -rank <= axis < rank for axis in axes) or len(
            {axis % rank for axis in axes}
        ) != len(axes):
            raise PackNetError(
                f"{name}: its output channels are said to be numbered by the "
                f"axes {tuple(axes)}; expected different axes of its shape "
                f"{tuple(shape)}."
            )
        self._size = math.prod(shape)
        self.count = 1
        # Of each axis: its stride in the flat kernel, its size, and its
        # stride in the channel numbers.
        self._parts: list[tuple[int, int, int]] = []
        for axis in sorted((axis % rank for axis in axes), reverse=True):
            apart = math.prod(shape[axis + 1 :])
            self._parts.append((apart, shape[axis], self.count))
            self.count *= shape[axis]

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yields blocks of the flattened kernel and their channels."""
        for block in ownership.blocks(self._size):
            places = np.arange(block.start, block.stop)
            channel = np.zeros(places.size, np.int64)
            for apart, size, step in self._parts:
                channel += places // apart % size * step
            yield block, channel
