"""The files that hold a SavedModel's arrays, and how graphs read them."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Table:
    """The contents of the files of one dtype.

    Attributes:
        dtype: The dtype.
        stored: The dtype in the file, which may be narrower.
        bits: Bits per owner; the owners of each array start at a whole byte.
        shapes: Shape of each stored array.
        owned: How many weights of each array are stored.
        newest: The newest owner in each array.
    """

    dtype: tf.DType
    stored: tf.DType
    bits: int
    shapes: list[tuple[int, ...]]
    owned: list[int]
    newest: list[int]

    @functools.cached_property
    def sizes(self) -> list[int]:
        """The number of weights of each array."""
        return [math.prod(shape) for shape in self.shapes]

    @functools.cached_property
    def owner_begins(self) -> list[int]:
        """The byte at which the owners of each array begin."""
        octets = [-(-size * self.bits // 8) for size in self.sizes]
        return [0, *itertools.accumulate(octets)][:-1]

    @functools.cached_property
    def begins(self) -> list[int]:
        """Where each array begins among the stored weights."""
        return [0, *itertools.accumulate(self.owned)][:-1]

    def of(self, values: list[int], number: tf.Tensor) -> tf.Tensor:
        """Returns an array's entry in one of the lists above, int64."""
        return tf.constant(values, tf.int64)[number]

    def shape(self, number: tf.Tensor) -> tf.Tensor:
        """Returns the shape of an array, int64."""
        sides = tf.constant([side for s in self.shapes for side in s], tf.int64)
        ends = np.cumsum([0, *map(len, self.shapes)])
        splits = tf.constant(ends, tf.int32)
        return sides[splits[number] : splits[number + 1]]


class Content:
    """Reads the files of one dtype when a model is loaded.

    Args:
        table: What the files contain.
        assets: The files by part: `owners` (compressed), and of the stored
            weights `top` (the last byte of each, compressed) and `low` (the
            other bytes).
        weights: Whether to read the weights too, or only the owners.
    """

    def __init__(
        self,
        table: Table,
        assets: Mapping[str, tf.saved_model.Asset],
        weights: bool = True,
    ):
        self._table = table
        self._owners = _decompressed(assets["owners"])
        if weights:
            self._low = tf.io.read_file(assets["low"].asset_path)
            self._top = _decompressed(assets["top"])

    def size(self, number: tf.Tensor) -> tf.Tensor:
        """Returns the number of an array's weights, int64."""
        return self._table.of(self._table.sizes, number)

    def weights(self, begin: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """Returns some of the stored weights, flat.

        Args:
            begin: The first, int64.
            count: How many, int64.
        """
        stored = self._table.stored
        top = _octets(self._top, begin, count)
        if stored == tf.bool:
            return tf.cast(top, tf.bool)
        if stored.size == 1:
            return tf.bitcast(top, stored)
        each = stored.size - 1
        low = _octets(self._low, begin * each, count * each)
        low = tf.reshape(low, [-1, each])
        found = tf.bitcast(tf.concat([low, top[:, tf.newaxis]], 1), stored)
        return tf.cast(found, self._table.dtype)

    def owners(
        self, number: tf.Tensor, begin: tf.Tensor, count: tf.Tensor
    ) -> tf.Tensor:
        """Returns the owners of some weights of an array, flat.

        Args:
            number: Which array.
            begin: The first of its weights, int64; a multiple of 8.
            count: How many, int64.
        """
        bits = self._table.bits
        octets = _octets(
            self._owners,
            self._table.of(self._table.owner_begins, number)
            + begin * bits // 8,
            (count * bits + 7) // 8,
        )
        # Looking each byte up in a table is faster than shifting.
        shifts = np.arange(0, 8, bits)
        codes = np.arange(256)[:, np.newaxis] >> shifts & (1 << bits) - 1
        codes = tf.gather(
            tf.constant(codes, tf.uint8), tf.cast(octets, tf.int32)
        )
        return tf.reshape(codes, [-1])[:count]


def _decompressed(asset: tf.saved_model.Asset) -> tf.Tensor:
    content = tf.io.read_file(asset.asset_path)
    return tf.io.decode_compressed(content, "ZLIB")


def _octets(
    content: tf.Tensor, begin: tf.Tensor, count: tf.Tensor
) -> tf.Tensor:
    return tf.io.decode_raw(tf.strings.substr(content, begin, count), tf.uint8)
