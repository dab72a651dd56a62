"""Models whose kernels are replaced while they run, by a bit a weight.

The kernels themselves stay as they were pretrained. What is in their place
is computed from them and from *codes*: for each kernel an array of two
values, of which a task keeps one bit a weight.
"""

import abc
import pathlib
from collections.abc import Callable, Sequence
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.compare.plain import Plain, assign, values_of, write


class Replaced(keras.Model):
    """A task's model with other kernels than its backbone holds.

    Args:
        backbone: The backbone; its kernels keep their values.
        head: The head of the task.
        kernels: The backbone's kernels.
        effective: Returns what is in the place of a kernel, by its number.
        variables: The variables which that is computed from.
    """

    def __init__(
        self,
        backbone: keras.Model,
        head: keras.layers.Layer,
        kernels: Sequence[keras.Variable],
        effective: Callable[[int], tf.Tensor],
        variables: Sequence[keras.Variable],
    ):
        super().__init__()
        self.backbone = backbone
        self.head = head
        self._replacing = list(variables)
        self._kernels_of = lambda: kernels
        self._effective = effective
        self.built = True

    def call(self, images, training=None):
        """Returns the scores of the task."""
        kernels = self._kernels_of()
        replaced = [(k, self._effective(i)) for i, k in enumerate(kernels)]
        skip = {id(kernel) for kernel in kernels}
        with keras.StatelessScope(state_mapping=replaced) as scope:
            scores = self.head(self.backbone(images, training=training))
        # Moving statistics, and the seeds of dropout.
        for variable in self.backbone.variables:
            value = scope.get_current_value(variable)
            if value is not None and id(variable) not in skip:
                variable.assign(value)
        return scores


class Coded(Plain):
    """A method that replaces kernels by means of codes.

    Attributes:
        low: The lower value of a code, as a task keeps it.
        border: Codes above it are kept as 1, the upper value.
        trained: Whether codes are trained, and have values in between.
        codes: An array for each kernel, of its shape.
    """

    low: ClassVar[float]
    border: ClassVar[float]
    trained: ClassVar[bool]

    def prepare(self) -> None:
        """Makes the codes."""
        self.codes = [
            keras.Variable(
                np.ones(kernel.shape, np.float32),
                trainable=self.trained,
                name=f"codes_{place}",
            )
            for place, kernel in enumerate(self.kernels)
        ]
        self._bits: list[list[np.ndarray]] = []

    @abc.abstractmethod
    def effective(self, place: int) -> tf.Tensor:
        """Returns what is in the place of a kernel.

        Args:
            place: The kernel's place in `kernels`.
        """

    @property
    def scales(self) -> Sequence[keras.Variable]:
        """What else is used for that, each task's own."""
        return ()

    def per_task(self) -> Sequence[keras.Variable]:
        """Returns what a `PackNet` has private copies of, and the scales."""
        return [*self.private, *self.scales]

    def model(self, place: int) -> keras.Model:
        """Returns a new model of a task with its kernels replaced."""
        return Replaced(
            self.backbone,
            self.heads[place],
            self.kernels,
            self.effective,
            [*self.codes, *self.scales],
        )

    def end(self, place: int) -> None:
        """Keeps a bit a weight, and what else is the task's own."""
        super().end(place)
        self._bits.append(
            [np.packbits(code > self.border) for code in values_of(self.codes)]
        )

    def answering(self, place: int) -> keras.Model:
        """Returns the model of a task, with its codes put back."""
        values = []
        for code, bits in zip(self.codes, self._bits[place], strict=True):
            size = int(np.prod(code.shape))
            ones = np.unpackbits(bits, count=size).reshape(code.shape)
            values.append(np.where(ones, 1.0, self.low))
        assign(self.codes, values)
        return super().answering(place)

    def save(self, folder: pathlib.Path) -> None:
        """Writes the network, and bits and private variables by task."""
        super().save(folder)
        for place, bits in enumerate(self._bits):
            write(folder / f"bits_{place}.npz", bits=bits)
