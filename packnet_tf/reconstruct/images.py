"""The images that a network is fitted on: checked, and cut into batches."""

import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.errors import DataError

# With fewer a warning is given: the fit would suit these images alone.
FEW = 64
# Of a data set so much is kept in memory; a larger one is read each time.
_KEPT_BYTES = 1 << 29


class Images:
    """Unlabelled inputs of a network.

    Args:
        given: An array, a structure of arrays for several inputs, or a
            `tf.data.Dataset` of batches. Elements may be tuples that begin
            with the inputs, as for `predict`.

    Attributes:
        count: How many there are.

    Raises:
        DataError: If there are none, or they hold NaN or infinity.
    """

    def __init__(self, given: Any):
        self._given = given
        self._kept: Any = None
        if isinstance(given, tf.data.Dataset):
            self._read_through()
        else:
            self._kept = keras.tree.map_structure(np.asarray, given)
            self.count = _rows(self._kept)
            _check(self._kept)
        if self.count == 0:
            raise DataError(
                "images=: there are none; give some hundreds, unlabelled, as "
                "the network takes them."
            )
        if self.count < FEW:
            warnings.warn(
                f"images=: {self.count} are few to fit a network on; "
                f"give {FEW} or more, some hundreds at best.",
                stacklevel=4,
            )

    def _read_through(self) -> None:
        if int(self._given.cardinality()) == tf.data.INFINITE_CARDINALITY:
            raise DataError(
                "images=: the data set has no end; give a part of it, with "
                "take(n)."
            )
        kept: list[Any] | None = []
        self.count = size = 0
        for element in self._given:
            batch = _inputs(element)
            _check(batch)
            self.count += _rows(batch)
            size += sum(x.nbytes for x in keras.tree.flatten(batch))
            if size > _KEPT_BYTES:
                kept = None
            if kept is not None:
                kept.append(batch)
        if kept:
            self._kept = keras.tree.map_structure(
                lambda *parts: np.concatenate(parts), *kept
            )

    @property
    def streamed(self) -> bool:
        """Whether they are read anew each time."""
        return self._kept is None

    def batches(self, size: int) -> Iterator[Any]:
        """Yields all images, at most `size` at a time."""
        whole = (
            [self._kept]
            if self._kept is not None
            else map(_inputs, self._given)
        )
        for part in whole:
            for first in range(0, _rows(part), size):
                yield keras.tree.map_structure(
                    lambda x, at=first: x[at : at + size], part
                )

    def first(self, number: int) -> Any:
        """Returns the first images."""
        return next(self.batches(number))


def _inputs(element: Any) -> Any:
    x, *_ = keras.utils.unpack_x_y_sample_weight(element)
    return keras.tree.map_structure(np.asarray, x)


def _rows(batch: Any) -> int:
    counts = {len(x) if np.ndim(x) else -1 for x in keras.tree.flatten(batch)}
    if len(counts) != 1 or -1 in counts:
        raise DataError(
            "images=: expected an array with an image in each row, or one for "
            "each input with as many rows."
        )
    return counts.pop()


def _check(batch: Any) -> None:
    for x in keras.tree.flatten(batch):
        if x.dtype.kind not in "biufV":
            raise DataError(f"images=: expected numbers; received {x.dtype}.")
        if x.dtype.kind == "f" and not np.isfinite(x).all():
            raise DataError(
                "images=: they hold NaN or infinity; leave those images out."
            )
