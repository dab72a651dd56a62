"""Stores the arrays of a SavedModel, each weight once.

The files hold every owned weight and its owner. When the model is loaded, the
layout `folded` gives each task's view its own memory, so that a task runs at
the speed of a plain model; `on_the_fly` makes each kernel once, and
the views in every call.

The arrays are assets rather than variables, so that what is needed only to
make the views can be freed, and free weights take no space on disk.
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
from packnet_tf.layers.kernel import choose
from packnet_tf.masks import ownership
from packnet_tf.masks.precision import narrowed
from packnet_tf.options.network import PRECISIONS
from packnet_tf.options.serving import LAYOUTS
from packnet_tf.serving.array_files import Table
from packnet_tf.serving.folded_views import LoadedList, LoadedOwners


def check_layout(layout: str) -> None:
    """Refuses an unknown layout.

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
        group: The number of its list.
        index: Its index in that list.
        shape: Its shape.
        owners: The index of its owners in their list, or -1 if it is read
            unmasked.
        owner: The task whose view is read; 0 if it is read unmasked.
        since: See `Task.since`.
    """

    group: int
    index: int
    shape: tuple[int, ...]
    owners: int = -1
    owner: int = 0
    since: int = 2

    @property
    def kind(self) -> tuple[Any, ...]:
        """What a program has to know about it during tracing."""
        return self.group, self.shape, self.owners >= 0, self.since > 2

    @property
    def place(self) -> tuple[int, int, int, int]:
        """What may differ between tasks that share a program."""
        return self.index, max(self.owners, 0), self.owner, self.since


class Kernel:
    """A kernel and the tasks' views of it.

    Args:
        group: The list that it goes into.
        number: Its number among the stored arrays of the list.
        value: The weights of all tasks, with free weights as 0.
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
        self._found: dict[tuple[int, int], Array] = {}
        self._whole = int(mask.max(initial=ownership.FREE)), 2

    def of(self, owner: int, since: int = 2) -> Array:
        """Returns the array of a task's view; equal views share one.

        Args:
            owner: The task's number.
            since: See `Task.since`.
        """
        mask = self._mask
        seen = ownership.visible(mask, owner, since)
        # Owners between this and `owner` have no weights here.
        last = int(mask[seen].max(initial=ownership.FREE))
        if last < since or not np.any((mask >= 2) & (mask < since)):
            since = 2
        key = last, since
        if key not in self._found:
            if ownership.is_whole(self._value, mask, max(last, 1), since):
                key = self._whole
        if key not in self._found:
            self._found[key] = self._make(*key)
        return self._found[key]

    def _make(self, last: int, since: int) -> Array:
        group, shape = self._group, self._value.shape
        if self._layout == "folded" or (last, since) == self._whole:
            item = group.item(self._number, last, since)
            return Array(group.number, item, shape)
        return dataclasses.replace(
            self.of(*self._whole),
            owners=group.owners_item(self._number),
            owner=last,
            since=since,
        )


class Arrays:
    """All arrays of a SavedModel, in one list per dtype, read and stored.

    Add everything, then `write`, then trace programs that `read`.

    Args:
        layout: One of `LAYOUTS`.
        precision: What packed tasks are rounded to: what is so rounded takes
            at most two bytes a value on disk.
    """

    def __init__(
        self, layout: str = LAYOUTS[0], precision: str = PRECISIONS[0]
    ):
        self._layout = layout
        self._precision = precision
        self._groups: dict[tuple[tf.DType, tf.DType], _Group] = {}
        self._known: dict[Any, Array] = {}

    def add(self, value: np.ndarray) -> Array:
        """Adds an array that all tasks read unmasked; equal ones are shared."""
        value = np.asarray(value)
        digest = hashlib.sha256(value.tobytes()).digest()
        key = (value.dtype, value.shape, digest)
        if key not in self._known:
            group = self._group(value)
            everyone = np.full(value.shape, 1, np.uint8)
            number = group.store(value, everyone)
            self._known[key] = Array(
                group.number, group.item(number, 1, 2), value.shape
            )
        return self._known[key]

    def add_kernel(self, value: np.ndarray, mask: np.ndarray) -> Kernel:
        """Adds a kernel of which each task reads its own view.

        Args:
            value: The weights of all tasks, with free weights as 0.
            mask: Their owners.
        """
        group = self._group(value)
        return Kernel(
            group, group.store(value, mask), value, mask, self._layout
        )

    def _group(self, value: np.ndarray) -> "_Group":
        stored = narrowed(value, self._precision).dtype
        key = tf.as_dtype(value.dtype), tf.as_dtype(stored)
        if key not in self._groups:
            self._groups[key] = _Group(len(self._groups), *key)
        return self._groups[key]

    def write(self, folder: pathlib.Path) -> None:
        """Writes the files; after that nothing can be added.

        Args:
            folder: A folder for the files until the SavedModel is saved.
        """
        for group in self._groups.values():
            group.write(folder)

    @property
    def resources(self) -> list[tf.saved_model.experimental.TrackableResource]:
        """The resources to save with the programs."""
        return [r for g in self._groups.values() for r in g.resources]

    def read(
        self, arrays: Sequence[Array], places: tf.Tensor | None = None
    ) -> list[tf.Tensor]:
        """Returns the arrays' values, inside a program.

        Args:
            arrays: The arrays.
            places: Read arrays of the same kinds at these places instead: an
                int32 tensor of shape [arrays, 4], one `Array.place` a row.
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
            index, owners, owner, since = tf.unstack(place, 4)
            made = lists[array.group]
            value = _get(made[0], index, group.dtype, array.shape)
            if array.owners >= 0:
                codes = _get(made[1], owners, tf.uint8, array.shape)
                seen = ownership.visible(
                    codes,
                    tf.cast(owner, tf.uint8),
                    tf.cast(since, tf.uint8) if array.since > 2 else 2,
                )
                value = choose(seen, value)
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
    """The arrays of one dtype: what is stored, and what is read."""

    def __init__(self, number: int, dtype: tf.DType, stored: tf.DType):
        self.number = number
        self.dtype = dtype
        self._stored = stored
        self.resources: list[LoadedList] = []
        self._values: list[np.ndarray] = []
        self._masks: list[np.ndarray] = []
        # The elements of each list: the stored array, and the last visible
        # owner and the first one after the first task.
        self._items: list[tuple[int, int, int]] = []
        self._owners: list[tuple[int, int, int]] = []

    def store(self, value: np.ndarray, mask: np.ndarray) -> int:
        self._values.append(value)
        self._masks.append(mask)
        return len(self._values) - 1

    def item(self, number: int, last: int, since: int) -> int:
        self._items.append((number, last, since))
        return len(self._items) - 1

    def owners_item(self, number: int) -> int:
        if (number, 0, 2) not in self._owners:
            self._owners.append((number, 0, 2))
        return self._owners.index((number, 0, 2))

    def write(self, folder: pathlib.Path) -> None:
        newest = [int(m.max(initial=ownership.FREE)) for m in self._masks]
        dtype = self._stored.as_numpy_dtype
        owned = [
            value[mask != ownership.FREE].astype(dtype, copy=False)
            for value, mask in zip(self._values, self._masks, strict=True)
        ]
        values = np.concatenate(owned)
        lengths = [len(part) for part in owned]
        del owned
        size = values.dtype.itemsize
        octets = values.view(np.uint8).reshape(-1, size)
        bits = next(b for b in (1, 2, 4, 8) if max(newest) < 1 << b)
        files = {
            # Only the last byte, sign and exponent, compresses well.
            "low": octets[:, :-1].tobytes(),
            "top": _compressed(octets[:, -1].tobytes()),
            "owners": _compressed(
                b"".join(_packed(mask.ravel(), bits) for mask in self._masks)
            ),
        }
        name = self.dtype.name
        if self._stored != self.dtype:
            name += f"_as_{self._stored.name}"
        content = hashlib.sha256(repr((self._items, self._owners)).encode())
        assets = {}
        for part, octets_of_it in files.items():
            (folder / f"{name}.{part}").write_bytes(octets_of_it)
            assets[part] = tf.saved_model.Asset(str(folder / f"{name}.{part}"))
            content.update(octets_of_it)
        table = Table(
            self.dtype,
            self._stored,
            bits,
            [value.shape for value in self._values],
            lengths,
            newest,
        )
        # Resources of one name are shared within a process, so the name has
        # to identify the content.
        shared = f"packnet/{content.hexdigest()[:32]}/{name}"
        self.resources.append(LoadedList(assets, table, self._items, shared))
        if self._owners:
            self.resources.append(
                LoadedOwners(assets, table, self._owners, f"{shared}/owners")
            )


def _compressed(content: bytes) -> bytes:
    """Returns what TensorFlow can decompress in a graph.

    Masks and exponents have no patterns except runs of equal bytes, so
    run-length and Huffman coding alone are as good as all of zlib, and faster.
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
