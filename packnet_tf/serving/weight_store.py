"""The arrays of a SavedModel: each weight once on disk, plain in memory.

On disk there is every weight that a task owns, once, and who owns it. What
the tasks read is made when the model is loaded: with the layout `folded` the
view of each task in memory of its own, so that a task is answered at the
speed of a plain model; with `on_the_fly` each kernel once, and the views in
every call.

The arrays are assets, not variables: what is only needed to make the views
takes no memory after that, and free weights, which are 0, none on disk.
"""

import dataclasses
import hashlib
import pathlib
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from packnet_tf.errors import NetworkError
from packnet_tf.masks import ownership
from packnet_tf.options.serving import LAYOUTS
from packnet_tf.serving.array_files import Table
from packnet_tf.serving.folded_views import LoadedList, LoadedOwners


def check_layout(layout: str) -> None:
    """Refuses a layout that there is not.

    Raises:
        NetworkError: If it is none of `LAYOUTS`.
    """
    if layout not in LAYOUTS:
        raise NetworkError(
            f"Layout {layout!r}: expected one of {', '.join(LAYOUTS)}."
        )


@dataclasses.dataclass(frozen=True)
class Array:
    """One array as a program reads it.

    Attributes:
        group: The number of the list that it is in.
        index: Its place there.
        shape: Its shape.
        owners: The place of its owners in their list, or -1 where nothing
            has to be hidden when it is read.
        owner: The task whose view is read; 0 where nothing is hidden.
    """

    group: int
    index: int
    shape: tuple[int, ...]
    owners: int = -1
    owner: int = 0

    @property
    def kind(self) -> tuple[Any, ...]:
        """What the program that reads it has to know when it is traced."""
        return self.group, self.shape, self.owners >= 0

    @property
    def place(self) -> tuple[int, int, int]:
        """What may differ between the tasks that share a program."""
        return self.index, max(self.owners, 0), self.owner


class Kernel:
    """A kernel, and the views of it that the tasks read.

    Args:
        group: The list that it goes into.
        number: Its place among the stored arrays there.
        value: The weights of all tasks; free ones are 0.
        mask: Their owners.
        layout: One of `LAYOUTS`.
    """

    def __init__(
        self,
        group: "_Group",
        number: int,
        value: np.ndarray,
        mask: np.ndarray,
        layout: str,
    ):
        self._group = group
        self._number = number
        self._value = value
        self._mask = mask
        self._layout = layout
        self._found: dict[int, Array] = {}
        self._newest = int(mask.max(initial=ownership.FREE))

    def of(self, owner: int) -> Array:
        """Returns what holds a task's view; tasks with equal views share it.

        Args:
            owner: Number of the task.
        """
        older = self._mask[self._mask <= owner]
        # Owners between this and `owner` have no weights here.
        last = int(older.max(initial=ownership.FREE))
        if last not in self._found:
            view = ownership.view(self._value, self._mask, owner)
            if view.tobytes() == self._value.tobytes():
                last = self._newest
        if last not in self._found:
            self._found[last] = self._make(last)
        return self._found[last]

    def _make(self, last: int) -> Array:
        group, shape = self._group, self._value.shape
        if self._layout == "folded" or last == self._newest:
            return Array(group.number, group.item(self._number, last), shape)
        return dataclasses.replace(
            self.of(self._newest),
            owners=group.owners_item(self._number),
            owner=last,
        )


class Arrays:
    """All arrays of a SavedModel, in lists by their type.

    Add everything, `write`, then trace programs that `read`.

    Args:
        layout: One of `LAYOUTS`.
    """

    def __init__(self, layout: str = LAYOUTS[0]):
        self._layout = layout
        self._groups: dict[tf.DType, _Group] = {}
        self._known: dict[Any, Array] = {}

    def add(self, value: np.ndarray) -> Array:
        """Returns an array that all see as it is; equal ones are one."""
        value = np.asarray(value)
        digest = hashlib.sha256(value.tobytes()).digest()
        key = (value.dtype, value.shape, digest)
        if key not in self._known:
            group = self._group(value)
            everyone = np.full(value.shape, 1, np.uint8)
            number = group.store(value, everyone)
            self._known[key] = Array(
                group.number, group.item(number, 1), value.shape
            )
        return self._known[key]

    def add_kernel(self, value: np.ndarray, mask: np.ndarray) -> Kernel:
        """Returns a kernel that each task sees its own view of.

        Args:
            value: The weights of all tasks; free ones are 0.
            mask: Their owners.
        """
        group = self._group(value)
        return Kernel(
            group, group.store(value, mask), value, mask, self._layout
        )

    def _group(self, value: np.ndarray) -> "_Group":
        dtype = tf.as_dtype(value.dtype)
        if dtype not in self._groups:
            self._groups[dtype] = _Group(len(self._groups), dtype)
        return self._groups[dtype]

    def write(self, folder: pathlib.Path) -> None:
        """Writes the files; after that nothing can be added.

        Args:
            folder: Where they lie until the SavedModel has its copies.
        """
        for group in self._groups.values():
            group.write(folder)

    @property
    def resources(self) -> list[tf.saved_model.experimental.TrackableResource]:
        """What has to be saved with the programs."""
        return [r for g in self._groups.values() for r in g.resources]

    def read(
        self, arrays: Sequence[Array], places: tf.Tensor | None = None
    ) -> list[tf.Tensor]:
        """Returns the values; legal in a program, once it is loaded.

        Args:
            arrays: What to read.
            places: int32 tensor of shape [arrays, 3]: read these instead,
                which are of the same kinds (the `place` of each).
        """
        if not arrays:
            return []
        if places is None:
            places = tf.constant([array.place for array in arrays], tf.int32)
        groups = list(self._groups.values())
        lists: dict[int, list[tf.Tensor]] = {}
        values = []
        for array, place in zip(
            arrays, tf.unstack(places, len(arrays)), strict=True
        ):
            group = groups[array.group]
            if array.group not in lists:
                lists[array.group] = [r.read_value() for r in group.resources]
            index, owners, owner = tf.unstack(place, 3)
            made = lists[array.group]
            value = _get(made[0], index, group.dtype, array.shape)
            if array.owners >= 0:
                codes = _get(made[1], owners, tf.uint8, array.shape)
                visible = codes <= tf.cast(owner, tf.uint8)
                value = tf.where(visible, value, tf.zeros_like(value))
            values.append(value)
        return values


def _get(listed, index, dtype, shape) -> tf.Tensor:
    return tf.raw_ops.TensorListGetItem(
        input_handle=listed,
        index=index,
        element_shape=list(shape),
        element_dtype=dtype,
    )


class _Group:
    """The arrays of one type: what is stored, and what is made of it."""

    def __init__(self, number: int, dtype: tf.DType):
        self.number = number
        self.dtype = dtype
        self.resources: list[LoadedList] = []
        self._values: list[np.ndarray] = []
        self._masks: list[np.ndarray] = []
        # Places in the list -> (stored array, last owner that is seen).
        self._items: list[tuple[int, int]] = []
        self._owners: list[tuple[int, int]] = []

    def store(self, value: np.ndarray, mask: np.ndarray) -> int:
        self._values.append(value)
        self._masks.append(mask)
        return len(self._values) - 1

    def item(self, number: int, last: int) -> int:
        self._items.append((number, last))
        return len(self._items) - 1

    def owners_item(self, number: int) -> int:
        if (number, 0) not in self._owners:
            self._owners.append((number, 0))
        return self._owners.index((number, 0))

    def write(self, folder: pathlib.Path) -> None:
        newest = [int(m.max(initial=ownership.FREE)) for m in self._masks]
        owned = [
            v.ravel()[m.ravel() != ownership.FREE]
            for v, m in zip(self._values, self._masks, strict=True)
        ]
        values = np.ascontiguousarray(np.concatenate(owned))
        size = values.dtype.itemsize
        octets = values.view(np.uint8).reshape(-1, size)
        bits = next(b for b in (1, 2, 4, 8) if max(newest) < 1 << b)
        files = {
            # Of a number's bytes only the last, sign and exponent, are far
            # from evenly distributed.
            "low": octets[:, :-1].tobytes(),
            "top": _compressed(octets[:, -1].tobytes()),
            "owners": _compressed(
                b"".join(_packed(mask.ravel(), bits) for mask in self._masks)
            ),
        }
        name = self.dtype.name
        content = hashlib.sha256(repr((self._items, self._owners)).encode())
        assets = {}
        for part, octets_of_it in files.items():
            (folder / f"{name}.{part}").write_bytes(octets_of_it)
            assets[part] = tf.saved_model.Asset(str(folder / f"{name}.{part}"))
            content.update(octets_of_it)
        table = Table(
            self.dtype,
            bits,
            [value.shape for value in self._values],
            [len(part) for part in owned],
            newest,
        )
        # In a process, resources of one name are one: it has to name what
        # they hold.
        shared = f"packnet/{content.hexdigest()[:32]}/{name}"
        self.resources.append(LoadedList(assets, table, self._items, shared))
        if self._owners:
            self.resources.append(
                LoadedOwners(assets, table, self._owners, f"{shared}/owners")
            )


def _compressed(content: bytes) -> bytes:
    """Returns what TensorFlow can decompress in a graph.

    Order does not matter in a mask or an exponent, so that beyond runs of
    equal bytes zlib's Huffman stage does as well as the whole, and faster.
    """
    packer = zlib.compressobj(level=6, strategy=zlib.Z_RLE)
    return packer.compress(content) + packer.flush()


def _packed(codes: np.ndarray, bits: int) -> bytes:
    each = 8 // bits
    codes = np.pad(codes.astype(np.uint8), (0, -len(codes) % each))
    packed = np.zeros(len(codes) // each, np.uint8)
    for place in range(each):
        packed |= codes[place::each] << np.uint8(place * bits)
    return packed.tobytes()
