"""Saves and loads masked layers: kernels for any view, and compressed masks."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from packnet_tf.errors import StateError
from packnet_tf.layers.kernel import MaskedKernel
from packnet_tf.layers.memory import tensor_of, zeros_to_come
from packnet_tf.layers.switch import TaskSwitch, Within, whole_kernels
from packnet_tf.masks import codec, compact
from packnet_tf.tf_internals.files import stored_array
from packnet_tf.tf_internals.layers import AfterBuild, hidden_variables

_filled = Within()


def values_follow() -> contextlib.AbstractContextManager[None]:
    """Lets masked layers that this thread makes start from zeros.

    For layers whose values are all read right after. Drawing random ones
    first takes as long as that, and three times a kernel's memory.
    """
    return _filled.entered()


class MaskedState(AfterBuild):
    """Mixin for a layer that is saved and loaded with its masks."""

    kernel_names: tuple[str, ...]
    _switch: TaskSwitch | None = None
    _damage: str | None = None

    def masked_kernels(self) -> list[MaskedKernel]:
        """Returns the layer's kernels."""
        raise NotImplementedError

    def add_weight(self, *args, **kwargs):
        """Adds a variable, as in Keras; see `values_follow`."""
        if _filled.depth:
            kwargs["initializer"] = zeros_to_come
        return super().add_weight(*args, **kwargs)

    def save_own_variables(self, store) -> None:
        """Stores the stock layer's variables and the compressed masks.

        Kernels are stored for any `view_task`; in a file the owned weights
        alone, as `NAME_owned`, in place of a kernel that has free ones.

        Raises:
            PhaseError: If a file of the layer would mix two tasks.
        """
        if not self.built:
            return
        # A plain dict is how this package hands weights on.
        in_file = not isinstance(store, dict)
        if self._switch is not None and in_file:
            self._switch.refuse_part(self.name)
        stock = self._stock_store()
        for kernel in self.masked_kernels():
            owned = None
            if in_file and (keys := _keys_of(kernel, stock)):
                owned = compact.without_free(kernel.value, kernel.owners)
            if owned is not None:
                store[f"{kernel.name}_owned"] = owned
                for key in keys:
                    del stock[key]
            store[f"{kernel.name}_mask"] = codec.compress(kernel.owners)
        for key, value in stock.items():
            store[key] = value

    def load_own_variables(self, store) -> None:
        """Loads what `save_own_variables` or a stock layer stored.

        A stock layer's file has no masks, which then stay as they are.

        Raises:
            StateError: If what is stored is damaged.
        """
        if self._damage is not None and not store.keys():
            # Keras comes again by another path, where nothing is stored, and
            # reports the last error of a layer.
            raise StateError(self._damage)
        self._damage = None
        try:
            self._load(store)
        except StateError as error:
            self._damage = str(error)
            raise

    def _load(self, store) -> None:
        own = {key: stored_array(store, key) for key in store.keys()}
        masks = []
        if self.built:
            # Decompressed before anything is assigned, so that a damaged file
            # does not change the layer.
            masks = [
                (
                    kernel,
                    codec.decompress(
                        np.asarray(own.pop(f"{kernel.name}_mask"), np.uint8),
                        tuple(kernel.mask.shape),
                    ),
                )
                for kernel in self.masked_kernels()
                if f"{kernel.name}_mask" in own
            ]
            # By the keys of today's Keras, whichever the file was written by.
            stock = self._stock_store()
            for kernel, mask in masks:
                owned = own.pop(f"{kernel.name}_owned", None)
                if owned is not None:
                    dtype = tf.as_dtype(kernel.variable.dtype).as_numpy_dtype
                    value = tensor_of(compact.with_free(owned, mask, dtype))
                    own.update(dict.fromkeys(_keys_of(kernel, stock), value))
        with self._as_stock():
            super().load_own_variables(own)
        for kernel, mask in masks:
            kernel.mask.assign(tensor_of(mask))

    def _stock_store(self) -> dict[str, Any]:
        """Returns the variables by the keys that the stock layer stores."""
        own: dict[str, Any] = {}
        with self._as_stock():
            super().save_own_variables(own)
        return own

    @contextlib.contextmanager
    def _as_stock(self) -> Iterator[None]:
        """Shows whole kernels and no masks to the stock code.

        Stock saving would write the view, and stock loading counts the
        layer's variables.
        """
        masks = {
            id(self.__dict__.get(f"{name}_mask")) for name in self.kernel_names
        }
        with whole_kernels(), hidden_variables(self, masks):
            yield


def _keys_of(kernel: MaskedKernel, stock: dict[str, Any]) -> list[str]:
    """Returns the keys of a stock layer's store that a kernel has."""
    return [key for key, value in stock.items() if value is kernel.variable]
