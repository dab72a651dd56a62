"""A kernel under a mask: its view, its record and its channel axes."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.layers.memory import array_of
from packnet_tf.tf_internals.layers import hidden_name


class View:
    """A kernel's attribute, which stores the variable and returns the view.

    Stock layers either keep the variable as `_kernel` behind a property
    `kernel`, or assign `self.kernel` itself. This data descriptor overrides
    both and keeps the variable in `_kernel`.
    """

    def __init__(self, name: str):
        self._name = name

    def __get__(self, layer, owner=None):
        if layer is None:
            return self
        # Keras reads an attribute before its first assignment, and expects an
        # AttributeError then.
        variable = vars(layer).get(hidden_name(self._name), self)
        if variable is self:
            raise AttributeError(
                f"You must build the layer before accessing `{self._name}`."
            )
        mask = vars(layer).get(f"{self._name}_mask")
        if mask is None:
            return variable
        view = layer._view
        if view is None:
            return variable
        task, since = view.owner, view.since
        mask = mask.value
        # `variable.value` follows the autocast scope, as in the stock layer;
        # casting before or after `where` gives the same bytes.
        value = variable.value
        # Unsigned 0 - 1 (free) is the largest number, so one comparison
        # selects the owners 1 to the task's.
        ones = keras.ops.ones((), mask.dtype)
        if since == 2:
            owners = keras.ops.convert_to_tensor(task, mask.dtype)
            visible = keras.ops.less(keras.ops.subtract(mask, ones), owners)
        else:
            first = keras.ops.convert_to_tensor(since, mask.dtype)
            count = keras.ops.convert_to_tensor(task - since + 1, mask.dtype)
            visible = keras.ops.logical_or(
                keras.ops.equal(mask, ones),
                keras.ops.less(keras.ops.subtract(mask, first), count),
            )
        return choose(visible, value)

    def __set__(self, layer, value):
        vars(layer)[hidden_name(self._name)] = value

    def __delete__(self, layer):
        del vars(layer)[hidden_name(self._name)]


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedKernel:
    """One kernel of a masked layer.

    Attributes:
        layer: The layer, a `Masked`.
        name: The kernel's attribute, e.g. `"kernel"`.
        variable: The variable with the weights of all tasks.
        mask: The owner of each weight: 0 is free. Same shape.
    """

    layer: Any
    name: str
    variable: keras.Variable
    mask: keras.Variable

    @property
    def value(self) -> np.ndarray:
        """The weights of all tasks as they are now; see `array_of`."""
        return array_of(self.variable)

    @property
    def owners(self) -> np.ndarray:
        """The owner of each weight as it is now, uint8; see `array_of`."""
        return array_of(self.mask)

    @property
    def prunable(self) -> bool:
        """Whether pruning takes weights of this kernel."""
        return self.layer.is_prunable(self.name)

    @property
    def path(self) -> str:
        """The kernel's Keras path, such as `conv1/kernel`."""
        return self.variable.path

    @property
    def channel_axes(self) -> tuple[int, ...]:
        """The axes that number its output channels, counted from the end."""
        return self.layer.kernel_channel_axes(self.name)


def choose(
    where: tf.Tensor, value: tf.Tensor, other: tf.Tensor | None = None
) -> tf.Tensor:
    """Returns a value where a condition holds, else another, or zeros.

    All have one shape. Bytes pass through as they are. `tf.where`, which
    broadcasts, takes twice as long.

    Args:
        where: Booleans.
        value: What is returned where they hold.
        other: What is returned elsewhere; +0.0 if None.
    """
    value = tf.convert_to_tensor(value)
    if other is None:
        other = tf.zeros_like(value)
    return tf.raw_ops.Select(condition=where, x=value, y=other)


_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


def channel_axes(layer: keras.layers.Layer, kernel: str) -> tuple[int, ...]:
    """Returns the axes of a kernel that number a layer's output channels.

    An output channel is one feature that the layer computes with the kernel;
    its weights have the same index on these axes:

    - Dense, convolutions, embeddings and the pointwise part of separable
      convolutions: the last axis.
    - Transposed convolutions: the last but one, (..., out, in).
    - Depthwise convolutions, and that part of separable ones: the last two,
      since each pair of input channel and multiplier has an output.
    - EinsumDense: the axes that the equation does not sum over, e.g. heads
      and their size in the projections of attention.

    Args:
        layer: The layer.
        kernel: Name of the kernel's attribute.

    Returns:
        Axes counted from the end, in rising order.

    Example:

    >>> channel_axes(keras.layers.EinsumDense("abc,cde->abde", 8), "kernel")
    (-2, -1)
    """
    if isinstance(layer, keras.layers.EinsumDense):
        inputs, output = layer.equation.split("->")
        axes = inputs.split(",")[1]
        return tuple(
            place - len(axes)
            for place, axis in enumerate(axes)
            if axis in output
        )
    if isinstance(layer, _TRANSPOSED):
        return (-2,)
    if isinstance(layer, _DEPTHWISE) or kernel == "depthwise_kernel":
        return (-2, -1)
    return (-1,)
