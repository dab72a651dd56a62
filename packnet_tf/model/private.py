"""Private variables: one copy of everything small for each task."""

import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.errors import StateError, TaskError
from packnet_tf.layers import MaskedKernel
from packnet_tf.layers.switch import TaskSwitch
from packnet_tf.masks.precision import narrowed
from packnet_tf.options.network import PRECISIONS
from packnet_tf.tf_internals.layers import layers_of
from packnet_tf.tf_internals.variables import new_storage, storage_of
from packnet_tf.tf_internals.variables import switch as make_switched


class PrivateBank:
    """Holds the private variables of all tasks.

    Private are all weights of the backbone that are neither masked kernels,
    nor masks, nor the adapted statistics of a `Normalization` layer (those
    are preprocessing, the same for all tasks). Each task has storage of its
    own for each of them, and a layer's variable reads and writes that of the
    task it computes for.

    Args:
        backbone: The masked backbone.
        kernels: Its masked kernels.
        switch: Says for which task the layers compute.
        strategy: The network's strategy.
    """

    def __init__(
        self,
        backbone: keras.Model,
        kernels: Sequence[MaskedKernel],
        switch: TaskSwitch,
        strategy: tf.distribute.Strategy,
    ):
        shared = {id(k.variable) for k in kernels}
        shared |= {id(k.mask) for k in kernels}
        layers = list(layers_of(backbone))
        self.constants = _unique(
            variable
            for layer in layers
            if isinstance(layer, keras.layers.Normalization)
            for variable in layer.weights
        )
        shared |= {id(v) for v in self.constants}
        self.variables = [
            v for v in _unique(backbone.weights) if id(v) not in shared
        ]
        # Their statistics move in the forward pass, unless they are frozen.
        self._moving = [
            layer
            for layer in layers
            if isinstance(layer, keras.layers.BatchNormalization)
        ]
        self._before_freeze: list[bool] | None = None
        self._switch = switch
        self._strategy = strategy
        # The first task has the storage that the layers were built with.
        self._storage = {1: [storage_of(v) for v in self.variables]}
        for place, variable in enumerate(self.variables):
            make_switched(
                variable,
                functools.partial(self._choose, place),
                switch.may_move,
            )
        self.pretrained: Sequence[np.ndarray] | None = None
        self.pretrained_private: list[np.ndarray] | None = None

    def _choose(self, place: int) -> tf.Variable:
        return self._storage[self._switch.now.owner or 1][place]

    def live(self) -> list[np.ndarray]:
        """Returns the values that the network holds now."""
        return [np.asarray(v) for v in self.variables]

    def of(self, owner: int) -> list[np.ndarray]:
        """Returns the values of a task."""
        return [storage.numpy() for storage in self._storage[owner]]

    def storage(self, owner: int) -> list[tf.Variable]:
        """Returns the storage of a task, in the order of `variables`."""
        return list(self._storage[owner])

    def begin(self, owner: int, *, pretrained: bool = False) -> None:
        """Gives a new task the values that it starts from.

        Args:
            owner: The task's number. The first keeps what the network has.
            pretrained: Whether later ones start from the values from before
                the base task was pruned, where they are known, and not from
                the base task's own. Pruning and recovery made those fit what
                is left of the kernels.
        """
        if owner == 1:
            return
        values = self.pretrained_private if pretrained else None
        if values is None:
            values = self.of(1)
        with self._strategy.scope():
            self._storage[owner] = [
                new_storage(variable, value)
                for variable, value in zip(self.variables, values, strict=True)
            ]

    def forget(self, owner: int) -> None:
        """Forgets the values of a task that is removed.

        A program that was traced for it gives NaN from now on.
        """
        for storage in self._storage.pop(owner):
            spoil(storage)

    def freeze(self, frozen: bool) -> None:
        """Stops the moving statistics, or lets them move as before that.

        Whether a layer trains is otherwise the user's to say.
        """
        if frozen and self._before_freeze is None:
            self._before_freeze = [layer.trainable for layer in self._moving]
        if self._before_freeze is None:
            return
        before = [value and not frozen for value in self._before_freeze]
        for layer, trainable in zip(self._moving, before, strict=True):
            layer.trainable = trainable
        if not frozen:
            self._before_freeze = None

    def save(self, store, tasks: int, precision: str = PRECISIONS[0]) -> None:
        """Writes the values of tasks 1 to `tasks` into a Keras store.

        Args:
            store: The store.
            tasks: The number of tasks.
            precision: The one of `PRECISIONS` that packed tasks are rounded
                to; what is so rounded takes two bytes a value.
        """
        for owner in range(1, tasks + 1):
            joined = b"".join(
                np.ascontiguousarray(value).tobytes()
                for value in self.of(owner)
            )
            stored = np.frombuffer(joined, np.uint8)
            if all(v.dtype == "float32" for v in self.variables):
                short = narrowed(stored.view(np.float32), precision)
                stored = stored if short.dtype == np.float32 else short
            store[f"private_{owner}"] = stored

    def load(self, store, tasks: int) -> None:
        """Reads what `save` wrote.

        Raises:
            StateError: If the sizes are not those of this network.
        """
        live = self.live()
        size = sum(value.nbytes for value in live)
        for owner in range(1, tasks + 1):
            stored = np.asarray(store[f"private_{owner}"])
            if stored.dtype != np.uint8:  # Rounded values.
                stored = stored.astype(np.float32)
            joined = stored.tobytes()
            if len(joined) != size:
                raise StateError(
                    f"The private variables of task {owner} take "
                    f"{len(joined)} bytes in the file, {size} in the network; "
                    "the file is of another network."
                )
            for storage, value in zip(
                self._storage[owner], _cut(joined, live), strict=True
            ):
                storage.assign(value)


def spoil(variable: Any) -> None:
    """Fills a variable with NaN, if it is of a type that has it."""
    if tf.as_dtype(variable.dtype).is_floating:
        variable.assign(np.full(variable.shape, np.nan))


def _cut(joined: bytes, like: Sequence[np.ndarray]) -> list[np.ndarray]:
    values, start = [], 0
    for array in like:
        end = start + array.nbytes
        part = np.frombuffer(joined[start:end], array.dtype)
        values.append(part.reshape(array.shape).copy())
        start = end
    return values


def _unique(variables) -> list[keras.Variable]:
    return list({id(v): v for v in variables}.values())


def fitting(
    values: Sequence[np.ndarray] | None,
    variables: Sequence[keras.Variable],
    name: str,
    what: str,
) -> list[np.ndarray] | None:
    """Returns values as arrays, if they have the shapes of the variables.

    Args:
        values: The values, or None for none.
        variables: Those that they are values of.
        name: What they were given as, for the message.
        what: What the variables are called there.

    Raises:
        TaskError: If the shapes differ.
    """
    if values is None:
        return None
    arrays = [np.asarray(value) for value in values]
    if [a.shape for a in arrays] != [tuple(v.shape) for v in variables]:
        raise TaskError(
            f"{name}: the shapes are not those of this network's {what}; "
            "give those of the same network."
        )
    return arrays
