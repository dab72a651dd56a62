"""Makes the tasks' views from a SavedModel's files when it is loaded.

A resource that TensorFlow initializes after everything else reads the files
and makes a list of tensors, the views, which the programs read.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from packnet_tf.layers.kernel import choose
from packnet_tf.masks import ownership
from packnet_tf.serving.array_files import Content, Table
from packnet_tf.tf_internals.files import track

# Weights made at a time, few enough that temporary tensors stay in the cache.
_PIECE = 1 << 18


class LoadedList(tf.saved_model.experimental.TrackableResource):
    """A list of tensors that is made from files when the model is loaded.

    TensorFlow initializes such resources after everything else, both in
    `tf.saved_model.load` and in the session loader of TensorFlow Serving.
    One resource holds all arrays: one per array would make the SavedModel's
    programs several times as large.

    `_destroy_resource` is left out on purpose, because a signature may
    outlive the object it was loaded with. A session frees its lists when it
    is closed; a process that loads eagerly keeps them.

    Args:
        assets: The files, by part; see `Content`.
        table: What the files contain.
        items: For each element, the stored array, the last owner whose
            weights are visible, and the first such one after the first task.
        shared_name: Name of the resource.
    """

    def __init__(
        self,
        assets: dict[str, tf.saved_model.Asset],
        table: Table,
        items: list[tuple[int, int, int]],
        shared_name: str,
    ):
        super().__init__()
        self._assets = assets
        for part, asset in assets.items():
            # Tracked, so that the SavedModel contains and reads its own copy.
            track(self, asset, part)
        self._table = table
        self._items = items
        self._shared_name = shared_name
        # Created now: created during tracing, it would belong to that graph.
        _ = self.resource_handle

    def _create_resource(self) -> tf.Tensor:
        return tf.raw_ops.VarHandleOp(
            dtype=tf.variant, shape=[], shared_name=self._shared_name
        )

    def read_value(self) -> tf.Tensor:
        """Returns the list, for use in a program after initialization."""
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
        table = self._table
        content = Content(table, self._assets)
        # Sorted by array, so that each is made once for all its views.
        order = sorted(range(len(self._items)), key=self._items.__getitem__)
        numbers = [self._items[place][0] for place in order]
        splits = np.searchsorted(numbers, np.arange(len(table.shapes) + 1))
        places = tf.constant(order, tf.int32)
        lasts = tf.constant([self._items[p][1] for p in order], tf.uint8)
        sinces = [self._items[place][2] for place in order]
        # Where all tasks read all older ones, loading does no more for it.
        skips = max(sinces, default=2) > 2
        since = tf.constant(sinces, tf.uint8)
        splits = tf.constant(splits, tf.int32)
        newest = tf.constant(table.newest, tf.uint8)

        def of_array(number, listed):
            owners = _owners(content, number)
            array = self._array(content, number, owners)
            shape = table.shape(number)

            def of_item(i, listed):
                first = since[i] if skips else 2
                view = tf.cond(
                    (lasts[i] >= newest[number]) & (first <= 2),
                    lambda: array,
                    lambda: _view(array, owners, lasts[i], first),
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
        # One at a time, because each takes memory while it is made.
        _, listed = tf.while_loop(
            lambda i, _: i < count, body, (0, empty), parallel_iterations=1
        )
        return listed

    def _array(
        self, content: Content, number: tf.Tensor, owners: tf.Tensor
    ) -> tf.Tensor:
        """Returns the weights of all tasks, flat, with free weights as 0."""
        table = self._table

        def piece(begin, count, stored):
            here = owners[begin : begin + count]
            seen = tf.cast(tf.not_equal(here, ownership.FREE), tf.int32)
            found = tf.cast(tf.reduce_sum(seen), tf.int64)
            # Free weights take the 0 in front.
            part = [tf.zeros([1], table.dtype), content.weights(stored, found)]
            made = tf.gather(tf.concat(part, 0), tf.cumsum(seen) * seen)
            return made, stored + found

        size = tf.size(owners, tf.int64)
        begin = table.of(table.begins, number)
        return _by_pieces(size, table.dtype, piece, begin)


class LoadedOwners(LoadedList):
    """The owners of some kernels, for views computed in every call."""

    def _made(self) -> tf.Tensor:
        table = self._table
        content = Content(table, self._assets, weights=False)
        numbers = tf.constant([number for number, *_ in self._items], tf.int32)

        def of_array(i, listed):
            return i + 1, tf.raw_ops.TensorListSetItem(
                input_handle=listed,
                index=i,
                item=tf.reshape(
                    _owners(content, numbers[i]), table.shape(numbers[i])
                ),
            )

        return self._loop(of_array, len(self._items), tf.uint8)


def _owners(content: Content, number: tf.Tensor) -> tf.Tensor:
    """Returns the owners of an array, flat."""

    def piece(begin, count, done):
        return content.owners(number, begin, count), done

    size = content.size(number)
    return _by_pieces(size, tf.uint8, piece, tf.constant(0, tf.int64))


def _view(
    array: tf.Tensor, owners: tf.Tensor, last: tf.Tensor, since: tf.Tensor | int
) -> tf.Tensor:
    """Returns an array, flat, with what a task does not see as 0."""
    return choose(ownership.visible(owners, last, since), array)


def _by_pieces(
    size: tf.Tensor,
    dtype: tf.DType,
    piece: Callable[..., tuple[tf.Tensor, tf.Tensor]],
    state: tf.Tensor,
) -> tf.Tensor:
    """Returns a flat tensor, filled in place one piece at a time.

    Making it at once would take several times its memory, and concatenating
    pieces twice. `InplaceUpdate` writes into the tensor's own memory
    (`tensor_scatter_nd_update` copies it for each piece), so nothing else may
    read it before it is complete.

    Args:
        size: The number of elements.
        dtype: Their dtype.
        piece: Takes a piece's first element (a multiple of 8), its length and
            a state; returns its elements and the next state.
        state: The first state.
    """
    one = tf.constant(1, tf.int64)
    count = tf.maximum(one, (size + _PIECE - 1) // _PIECE)
    # The last piece is padded, so that all are rows of one tensor.
    length = tf.maximum(one, (size + 8 * count - 1) // (8 * count)) * 8
    shape = tf.cast(tf.stack([count, length]), tf.int32)

    def of_piece(i, state, whole):
        begin = tf.cast(i, tf.int64) * length
        made, state = piece(begin, tf.minimum(length, size - begin), state)
        rest = tf.zeros([length - tf.size(made, tf.int64)], dtype)
        whole = tf.raw_ops.InplaceUpdate(
            x=whole, i=i[tf.newaxis], v=tf.concat([made, rest], 0)[tf.newaxis]
        )
        return i + 1, state, whole

    _, _, whole = tf.while_loop(
        lambda i, *_: i < shape[0],
        of_piece,
        (tf.constant(0), state, tf.raw_ops.Empty(shape=shape, dtype=dtype)),
        parallel_iterations=1,
    )
    return tf.reshape(whole, [-1])[:size]
