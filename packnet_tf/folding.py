"""Views that are computed when a SavedModel is loaded.

On disk a SavedModel holds every kernel once, and beside it who owns which
weight, compressed. When it is loaded, each view that differs from its kernel
is computed once into memory of its own: disk holds one network, and every
task is answered at the speed of a plain model.
"""

import functools
import zlib

import numpy as np
import tensorflow as tf

from packnet_tf import ownership


class OwnerCodes:
    """Who owns each weight of one kernel, compressed, inside a SavedModel.

    Codes differ from masks in that the newest task's weights and the free
    ones share a code: free weights are 0 in the kernel itself, so that no
    view needs to tell them apart, and up to four tasks take two bits a
    weight. zlib is what TensorFlow can decompress; order does not matter in
    a mask, so its Huffman stage alone does as well as the whole, and faster.

    Args:
        mask: The kernel's mask.
        newest: Number of the newest task.
        name: Unique name of the variable.
    """

    def __init__(self, mask: np.ndarray, newest: int, name: str):
        codes = np.where(mask == ownership.FREE, newest, mask).ravel() - 1
        self._bits = next(b for b in (2, 4, 8) if newest <= 1 << b)
        each = 8 // self._bits
        codes = np.pad(codes.astype(np.uint8), (0, -len(codes) % each))
        packed = np.zeros(len(codes) // each, np.uint8)
        for place in range(each):
            packed |= codes[place::each] << np.uint8(place * self._bits)
        packer = zlib.compressobj(level=6, strategy=zlib.Z_HUFFMAN_ONLY)
        blob = packer.compress(packed.tobytes()) + packer.flush()
        self.blob = tf.Variable(
            blob, dtype=tf.string, trainable=False, name=name
        )

    def view(self, kernel: tf.Tensor, owner: int) -> tf.Tensor:
        """Returns the kernel with 0 for what tasks after `owner` own.

        Args:
            kernel: The weights of all tasks.
            owner: Number of a task older than the newest.
        """
        fold = _folder(kernel.dtype, self._bits)
        view = fold(kernel, self.blob.read_value(), tf.cast(owner, tf.uint8))
        return tf.ensure_shape(view, kernel.shape)


@functools.cache
def _folder(dtype: tf.DType, bits: int):
    """Returns the function behind `OwnerCodes.view`.

    One for all kernels, so that a SavedModel has it once.
    """

    @tf.function(
        input_signature=[
            tf.TensorSpec(None, dtype),
            tf.TensorSpec([], tf.string),
            tf.TensorSpec([], tf.uint8),
        ],
        autograph=False,
    )
    def fold(kernel, blob, owner):
        blob = tf.io.decode_compressed(blob, "ZLIB")
        packed = tf.io.decode_raw(blob, tf.uint8)
        codes = tf.bitwise.bitwise_and(
            tf.bitwise.right_shift(
                packed[:, tf.newaxis],
                tf.constant(list(range(0, 8, bits)), tf.uint8),
            ),
            tf.constant((1 << bits) - 1, tf.uint8),
        )
        codes = tf.reshape(codes, [-1])[: tf.size(kernel)]
        visible = tf.reshape(codes < owner, tf.shape(kernel))
        return tf.where(visible, kernel, tf.zeros_like(kernel))

    return fold


class FoldedView(tf.saved_model.experimental.TrackableResource):
    """One task's view of one kernel, computed when the model is loaded.

    TensorFlow initializes such resources after the checkpoint is restored,
    in `tf.saved_model.load` and in the session loader of TensorFlow Serving.
    The view is never part of a checkpoint.

    There is no `_destroy_resource` on purpose: a signature may outlive the
    object it was loaded with. A session frees its views when it is closed.

    Args:
        kernel: The kernel with the weights of all tasks.
        codes: Their owners.
        owner: The view's task.
        shared_name: Name of the resource. In a session it is all that tells
            two views apart, so it has to name the packed state too.
    """

    def __init__(
        self,
        kernel: tf.Variable,
        codes: OwnerCodes,
        owner: int,
        shared_name: str,
    ):
        super().__init__()
        self._kernel = kernel
        self._codes = codes
        self._owner = owner
        self._shared_name = shared_name
        # Made now: made while a signature is traced, it would belong to that
        # signature's graph.
        self._resource_handle = self._create_resource()

    def _create_resource(self) -> tf.Tensor:
        return tf.raw_ops.VarHandleOp(
            dtype=self._kernel.dtype,
            shape=self._kernel.shape,
            shared_name=self._shared_name,
        )

    def _initialize(self) -> None:
        kernel = self._kernel.read_value()
        view = self._codes.view(kernel, self._owner)
        tf.raw_ops.AssignVariableOp(resource=self.resource_handle, value=view)

    def read_value(self) -> tf.Tensor:
        """Returns the view; legal in a signature, after initialization."""
        value = tf.raw_ops.ReadVariableOp(
            resource=self.resource_handle, dtype=self._kernel.dtype
        )
        value.set_shape(self._kernel.shape)
        return value


class FoldedKernel:
    """One kernel of a SavedModel, and the views of it that the tasks need.

    `kernel`, `codes.blob` and `views` are what the SavedModel has to keep.

    Args:
        kernel: The weights of all tasks; free ones are 0.
        mask: Their owners.
        newest: Number of the newest task.
        name: Unique name of the kernel, with the packed state's digest in
            it: in a session, variables of one name are one variable.
    """

    def __init__(
        self, kernel: np.ndarray, mask: np.ndarray, newest: int, name: str
    ):
        self.kernel = tf.Variable(
            kernel, trainable=False, name=f"{name}/kernel"
        )
        self.codes: OwnerCodes | None = None
        self.views: list[FoldedView] = []
        self._name = name
        self._kernel = kernel
        self._mask = mask
        self._newest = newest
        self._by_owner: dict[int, int] = {}

    def of(self, owner: int) -> tf.Variable | FoldedView:
        """Returns what holds a task's view: both have `read_value()`.

        That is the kernel itself where they are the same bytes, as for the
        newest task always. Tasks with equal views share one.

        Args:
            owner: Number of the task.
        """
        older = self._mask[self._mask <= owner]
        # Owners between this and `owner` have no weights here.
        last = int(older.max(initial=ownership.FREE))
        if last not in self._by_owner:
            view = ownership.view(self._kernel, self._mask, owner)
            if view.tobytes() == self._kernel.tobytes():
                return self.kernel
            if self.codes is None:
                self.codes = OwnerCodes(
                    self._mask, self._newest, f"{self._name}/owners"
                )
            self._by_owner[last] = len(self.views)
            self.views.append(
                FoldedView(
                    self.kernel, self.codes, last, f"{self._name}/{last}"
                )
            )
        return self.views[self._by_owner[last]]
