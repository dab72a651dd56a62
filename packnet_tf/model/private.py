"""Private variables: one copy of everything small for each task."""

from collections.abc import Sequence

import keras
import numpy as np

from packnet_tf.errors import StateError, TaskError
from packnet_tf.layers import MaskedKernel
from packnet_tf.tf_internals.layers import layers_of


class PrivateBank:
    """Keeps each task's private variables while another task is active.

    Private are all weights of the backbone that are neither masked kernels,
    nor masks, nor the adapted statistics of a `Normalization` layer (those
    are preprocessing, the same for all tasks).

    Args:
        backbone: The masked backbone.
        kernels: Its masked kernels.
    """

    def __init__(self, backbone: keras.Model, kernels: Sequence[MaskedKernel]):
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
            (layer, layer.trainable)
            for layer in layers
            if isinstance(layer, keras.layers.BatchNormalization)
        ]
        self._values: dict[int, list[np.ndarray]] = {}
        self.pretrained: list[np.ndarray] | None = None
        self.pretrained_private: list[np.ndarray] | None = None

    def live(self) -> list[np.ndarray]:
        """Returns the values that the network holds now."""
        return [np.asarray(v) for v in self.variables]

    def of(self, owner: int) -> list[np.ndarray]:
        """Returns the kept values of a task."""
        return self._values[owner]

    def keep(self, owner: int) -> None:
        """Keeps the values that the network holds now as a task's own."""
        self._values[owner] = [value.copy() for value in self.live()]

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
            self.keep(owner)
            return
        values = self.pretrained_private if pretrained else None
        if values is None:
            values = self._values[1]
        self._values[owner] = [v.copy() for v in values]

    def forget(self, owner: int) -> None:
        """Forgets the values of a task that is removed."""
        self._values.pop(owner, None)

    def restore(self, owner: int) -> None:
        """Puts a task's values into the network."""
        for variable, value in zip(
            self.variables, self._values[owner], strict=True
        ):
            variable.assign(value)

    def freeze(self, frozen: bool) -> None:
        """Stops the moving statistics, or lets them move as at first."""
        for layer, trainable in self._moving:
            layer.trainable = trainable and not frozen

    def save(self, store, tasks: int) -> None:
        """Writes the values of tasks 1 to `tasks` into a Keras store."""
        for owner in range(1, tasks + 1):
            joined = b"".join(
                np.ascontiguousarray(value).tobytes()
                for value in self._values[owner]
            )
            store[f"private_{owner}"] = np.frombuffer(joined, np.uint8)

    def load(self, store, tasks: int) -> None:
        """Reads what `save` wrote.

        Raises:
            StateError: If the sizes are not those of this network.
        """
        live = self.live()
        size = sum(value.nbytes for value in live)
        for owner in range(1, tasks + 1):
            joined = np.asarray(store[f"private_{owner}"], np.uint8).tobytes()
            if len(joined) != size:
                raise StateError(
                    f"The private variables of task {owner} take "
                    f"{len(joined)} bytes in the file, {size} in the network; "
                    "the file is of another network."
                )
            self._values[owner] = _cut(joined, live)


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
