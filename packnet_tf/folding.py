"""What a SavedModel's files become when it is loaded.

A resource that TensorFlow initializes after everything else reads the files
and makes a list of tensors of them: the views of the tasks, each in memory of
its own. The programs read that list.
"""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from packnet_tf import ownership


@dataclasses.dataclass(frozen=True)
class Table:
    """What is in the files of one type.

    Attributes:
        dtype: The type.
        bits: Bits of an owner.
        shapes: Shape of each stored array.
        owned: How many of its weights are stored.
    """

    dtype: tf.DType
    bits: int
    shapes: list[tuple[int, ...]]
    owned: list[int]

    @functools.cached_property
    def begins(self) -> np.ndarray:
        """Where each array begins among all weights, and the end."""
        sizes = [int(np.prod(shape)) for shape in self.shapes]
        return np.cumsum([0, *sizes], dtype=np.int64)

    @functools.cached_property
    def stored(self) -> np.ndarray:
        """Where each array begins among the stored weights, and the end."""
        return np.cumsum([0, *self.owned], dtype=np.int64)


class LoadedList(tf.saved_model.experimental.TrackableResource):
    """A list of tensors that is made of files when the model is loaded.

    TensorFlow initializes such resources when it has loaded everything else,
    in `tf.saved_model.load` and in the session loader of TensorFlow Serving.
    One resource for all arrays: as many as there are arrays would make the
    SavedModel's programs several times as large.

    There is no `_destroy_resource` on purpose: a signature may outlive the
    object it was loaded with. A session frees its lists when it is closed; a
    process that loads eagerly keeps them.

    Args:
        assets: The files, by what is in them.
        table: What is in them.
        items: For each element the stored array, and the last owner that is
            seen in it.
        shared_name: Name of the resource.
    """

    def __init__(
        self,
        assets: dict[str, tf.saved_model.Asset],
        table: Table,
        items: list[tuple[int, int]],
        shared_name: str,
    ):
        super().__init__()
        self._assets = assets
        for part, asset in assets.items():
            # So that the SavedModel has the file, and reads its own copy.
            self._track_trackable(asset, part)
        self._table = table
        self._items = items
        self._shared_name = shared_name
        # Made now: made while a program is traced, it would belong to that
        # program's graph.
        self._resource_handle = self._create_resource()

    def _create_resource(self) -> tf.Tensor:
        return tf.raw_ops.VarHandleOp(
            dtype=tf.variant, shape=[], shared_name=self._shared_name
        )

    def read_value(self) -> tf.Tensor:
        """Returns the list; legal in a program, after initialization."""
        value = tf.raw_ops.ReadVariableOp(
            resource=self.resource_handle, dtype=tf.variant
        )
        value.set_shape([])
        return value

    def _initialize(self) -> None:
        tf.raw_ops.AssignVariableOp(
            resource=self.resource_handle, value=self._made()
        )

    def _made(self) -> tf.Tensor:
        table, values, codes = self._table, self._values(), self._codes()
        # Sorted by array: each is taken apart once for all its views.
        order = sorted(range(len(self._items)), key=self._items.__getitem__)
        numbers = [self._items[place][0] for place in order]
        splits = np.searchsorted(numbers, np.arange(len(table.shapes) + 1))
        places = tf.constant(order, tf.int32)
        lasts = tf.constant([self._items[p][1] for p in order], tf.uint8)
        splits = tf.constant(splits, tf.int32)

        def of_array(number, listed):
            owners = _slice(codes, table.begins, number)
            seen = tf.not_equal(owners, ownership.FREE)
            part = _slice(values, table.stored, number)
            # A 0 in front, for the weights that are free.
            part = tf.concat([tf.zeros([1], table.dtype), part], 0)
            which = tf.cumsum(tf.cast(seen, tf.int32))
            array = tf.gather(part, which * tf.cast(seen, tf.int32))
            shape = _shape(table.shapes, number)

            def of_item(i, listed):
                view = tf.where(
                    owners <= lasts[i], array, tf.zeros([], table.dtype)
                )
                return i + 1, tf.raw_ops.TensorListSetItem(
                    input_handle=listed,
                    index=places[i],
                    item=tf.reshape(view, shape),
                )

            _, listed = tf.while_loop(
                lambda i, _: i < splits[number + 1],
                of_item,
                (splits[number], listed),
                parallel_iterations=1,
            )
            return number + 1, listed

        return self._loop(of_array, len(table.shapes), table.dtype)

    def _loop(self, body, count: int, dtype: tf.DType) -> tf.Tensor:
        empty = tf.raw_ops.TensorListReserve(
            element_shape=-1,
            num_elements=len(self._items),
            element_dtype=dtype,
        )
        # One after another: several at a time would need memory for each.
        _, listed = tf.while_loop(
            lambda i, _: i < count, body, (0, empty), parallel_iterations=1
        )
        return listed

    def _values(self) -> tf.Tensor:
        """Returns the stored weights, flat."""
        dtype = self._table.dtype
        top = _decompressed(self._assets["top"])
        if dtype.size == 1:
            if dtype == tf.bool:
                return tf.cast(top, tf.bool)
            return tf.bitcast(top, dtype)
        low = tf.io.read_file(self._assets["low"].asset_path)
        low = tf.reshape(tf.io.decode_raw(low, tf.uint8), [-1, dtype.size - 1])
        return tf.bitcast(tf.concat([low, top[:, tf.newaxis]], 1), dtype)

    def _codes(self) -> tf.Tensor:
        """Returns the owner of each weight, flat."""
        bits = self._table.bits
        codes = tf.bitwise.bitwise_and(
            tf.bitwise.right_shift(
                _decompressed(self._assets["owners"])[:, tf.newaxis],
                tf.constant(list(range(0, 8, bits)), tf.uint8),
            ),
            tf.constant((1 << bits) - 1, tf.uint8),
        )
        return tf.reshape(codes, [-1])


class LoadedOwners(LoadedList):
    """The owners of some kernels, for views that are made in every call."""

    def _made(self) -> tf.Tensor:
        table, codes = self._table, self._codes()
        numbers = tf.constant([number for number, _ in self._items], tf.int32)

        def of_array(i, listed):
            owners = _slice(codes, table.begins, numbers[i])
            return i + 1, tf.raw_ops.TensorListSetItem(
                input_handle=listed,
                index=i,
                item=tf.reshape(owners, _shape(table.shapes, numbers[i])),
            )

        return self._loop(of_array, len(self._items), tf.uint8)


def _decompressed(asset: tf.saved_model.Asset) -> tf.Tensor:
    content = tf.io.read_file(asset.asset_path)
    content = tf.io.decode_compressed(content, "ZLIB")
    return tf.io.decode_raw(content, tf.uint8)


def _slice(flat: tf.Tensor, begins: np.ndarray, number: tf.Tensor) -> tf.Tensor:
    begins = tf.constant(begins, tf.int64)
    return flat[begins[number] : begins[number + 1]]


def _shape(shapes: list[tuple[int, ...]], number: tf.Tensor) -> tf.Tensor:
    sides = tf.constant([side for s in shapes for side in s], tf.int64)
    splits = tf.constant(np.cumsum([0, *map(len, shapes)]), tf.int32)
    return sides[splits[number] : splits[number + 1]]
