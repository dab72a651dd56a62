"""Which matrix a kernel is, and which rows its layer's inputs are.

Every layer here multiplies rows by matrices: of a convolution the rows are
the patches under the kernel. Groups of channels (and the channels of
depthwise kernels) have matrices of their own.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

layers = keras.layers


@dataclasses.dataclass(frozen=True)
class Form:
    """How a kernel's matrices and their rows are read.

    Attributes:
        split: The kernel's shape with axes divided or joined.
        order: The order of those axes that makes them the groups', the
            inputs' and the outputs'.
        groups: Number of matrices.
        inputs: Rows of a matrix.
        count: Returns how many rows inputs of a shape have.
        take: Returns the rows with these numbers out of a layer's inputs, of
            shape [groups, rows, inputs], in the inputs' dtype.
    """

    split: tuple[int, ...]
    order: tuple[int, ...]
    groups: int
    inputs: int
    count: Callable[[Sequence[int]], int]
    take: Callable[[tf.Tensor, np.ndarray], tf.Tensor]

    def matrices(self, kernel: np.ndarray) -> np.ndarray:
        """Returns a kernel as [groups, inputs, outputs]."""
        ordered = kernel.reshape(self.split).transpose(self.order)
        return ordered.reshape(self.groups, self.inputs, -1)

    def kernel(self, matrices: np.ndarray, shape: Sequence[int]) -> np.ndarray:
        """Returns matrices as the kernel of that shape."""
        ordered = matrices.reshape([self.split[axis] for axis in self.order])
        return ordered.transpose(np.argsort(self.order)).reshape(shape)


def form_of(
    layer: keras.layers.Layer, kernel: str, shape: Sequence[int]
) -> Form | None:
    """Returns how a kernel of a layer is fitted, or None if it is not.

    None for recurrent cells and for layers with a `call` of their own, of
    which it is not known what they do with the kernel.

    Args:
        layer: A built layer.
        kernel: Name of the kernel's attribute.
        shape: The kernel's shape.
    """
    for stock, make in _FORMS.items():
        if isinstance(layer, stock) and _computes_as(layer, stock):
            return make(layer, kernel, tuple(shape))
    return None


def is_embedding(layer: keras.layers.Layer) -> bool:
    """Whether a layer looks up vectors, and does nothing else."""
    stock = layers.Embedding
    return isinstance(layer, stock) and _computes_as(layer, stock)


def _computes_as(layer, stock) -> bool:
    return all(
        getattr(type(layer), name, None) is getattr(stock, name, None)
        for name in ("call", "convolution_op")
    )


def _dense(layer, kernel, shape) -> Form:
    return _plain_rows(shape, lambda x: x)


def _plain_rows(shape, before: Callable[[tf.Tensor], tf.Tensor]) -> Form:
    """The form of a kernel [inputs, outputs] that multiplies the last axis."""
    inputs, outputs = math.prod(shape[:-1]), shape[-1]
    return Form(
        (inputs, outputs),
        (0, 1),
        1,
        inputs,
        lambda sizes: math.prod(sizes[:-1]),
        lambda x, which: tf.gather(tf.reshape(before(x), [-1, inputs]), which)[
            None
        ],
    )


def _conv(layer, kernel, shape) -> Form:
    area, groups = math.prod(shape[:-2]), layer.groups
    patches = _Patches(layer, groups)
    return Form(
        (area * shape[-2], groups, shape[-1] // groups),
        (1, 0, 2),
        groups,
        area * shape[-2],
        patches.count,
        patches.take,
    )


def _depthwise(layer, kernel, shape) -> Form:
    area, (channels, multiplier) = math.prod(shape[:-2]), shape[-2:]
    patches = _Patches(layer, channels)
    return Form(
        (area, channels, multiplier),
        (1, 0, 2),
        channels,
        area,
        patches.count,
        patches.take,
    )


def _separable(layer, kernel, shape) -> Form:
    if kernel == "depthwise_kernel":
        return _depthwise(layer, kernel, shape)

    def middle(x):
        # Whatever the depthwise kernel is while the rows are read.
        x = keras.ops.depthwise_conv(
            x,
            layer.depthwise_kernel,
            strides=layer.strides,
            padding=layer.padding,
            dilation_rate=layer.dilation_rate,
            data_format=layer.data_format,
        )
        return _channels_last(layer, x)

    patches = _Patches(layer, 1)
    form = _plain_rows(shape, middle)
    return dataclasses.replace(form, count=patches.count)


def _transposed(layer, kernel, shape) -> Form:
    area, (outputs, channels) = math.prod(shape[:-2]), shape[-2:]
    # Convolved with this, every position gives the row that the kernel
    # multiplies there, whatever strides and padding are.
    unit = np.eye(area * channels, dtype=np.float32)
    unit = unit.reshape(*shape[:-2], channels, area * channels)
    unit = np.moveaxis(unit, -2, -1)

    def count(sizes):
        out = layer.compute_output_shape(tuple(sizes))
        return math.prod(out) // layer.filters

    def take(x, which):
        spread = keras.ops.conv_transpose(
            x,
            tf.cast(unit, x.dtype),
            strides=list(layer.strides),
            padding=layer.padding,
            output_padding=layer.output_padding,
            dilation_rate=layer.dilation_rate,
            data_format=layer.data_format,
        )
        spread = _channels_last(layer, spread)
        return tf.gather(tf.reshape(spread, [-1, area * channels]), which)[None]

    return Form(
        (area, outputs, channels),
        (0, 2, 1),
        1,
        area * channels,
        count,
        take,
    )


def _einsum(layer, kernel, shape) -> Form | None:
    left, output = layer.equation.replace(" ", "").split("->")
    given, weight = left.split(",")
    shared = [a for a in weight if a in given and a in output]
    summed = [a for a in weight if a in given and a not in output]
    new = [a for a in weight if a not in given and a in output]
    if len(shared) + len(summed) + len(new) < len(weight):
        return None
    size = dict(zip(weight, shape, strict=True))
    order = tuple(weight.index(axis) for axis in [*shared, *summed, *new])

    def named(rank) -> str:
        spare = [a for a in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if a not in left]
        dots = "".join(spare[: rank - len(given.replace("...", ""))])
        return given.replace("...", dots)

    def free(names) -> str:
        dots = [a for a in names if a not in given]
        return "".join(
            a for a in names if a not in weight and (a in output or a in dots)
        )

    def count(sizes):
        names = named(len(sizes))
        return math.prod(sizes[names.index(axis)] for axis in free(names))

    def take(x, which):
        names = named(len(x.shape))
        ordered = "".join([*shared, *free(names), *summed])
        x = tf.einsum(f"{names}->{ordered}", x)
        x = tf.reshape(
            x,
            [
                math.prod(size[a] for a in shared),
                -1,
                math.prod(size[a] for a in summed),
            ],
        )
        return tf.gather(x, which, axis=1)

    return Form(
        shape,
        order,
        math.prod(size[a] for a in shared),
        math.prod(size[a] for a in summed),
        count,
        take,
    )


class _Patches:
    """The patches of a convolution's inputs, each a row.

    Args:
        layer: The convolution.
        groups: Number of groups of channels, each with rows of its own.
    """

    def __init__(self, layer: Any, groups: int):
        self._layer = layer
        self._groups = groups

    def _places(self, sizes: Sequence[int]):
        """Returns for each axis: places, zeros before, zeros after."""
        layer, found = self._layer, []
        for size, kernel, stride, spread in zip(
            sizes,
            layer.kernel_size,
            layer.strides,
            layer.dilation_rate,
            strict=True,
        ):
            reach = (kernel - 1) * spread
            if layer.padding == "same":
                places = -(-size // stride)
                zeros = max((places - 1) * stride + reach + 1 - size, 0)
                found.append((places, zeros // 2, zeros - zeros // 2))
                continue
            before = reach if layer.padding == "causal" else 0
            places = (size + before - reach - 1) // stride + 1
            found.append((places, before, 0))
        return found

    def _axes(self, shape):
        if self._layer.data_format == "channels_first":
            return shape[2:]
        return shape[1:-1]

    def count(self, shape: Sequence[int]) -> int:
        """Returns the number of patches of inputs of a shape."""
        places = [p for p, *_ in self._places(self._axes(shape))]
        return shape[0] * math.prod(places)

    def take(self, x: tf.Tensor, which: np.ndarray) -> tf.Tensor:
        """Returns the patches with these numbers."""
        layer = self._layer
        x = _channels_last(layer, x)
        places = self._places(x.shape[1:-1])
        x = tf.pad(x, [(0, 0), *((b, a) for _, b, a in places), (0, 0)])
        *padded, channels = x.shape
        image, *position = np.unravel_index(
            which, (padded[0], *(p for p, *_ in places))
        )
        corner = [
            one * stride
            for one, stride in zip(position, layer.strides, strict=True)
        ]
        steps = np.meshgrid(
            *(
                np.arange(size) * spread
                for size, spread in zip(
                    layer.kernel_size, layer.dilation_rate, strict=True
                )
            ),
            indexing="ij",
        )
        first = np.ravel_multi_index((image, *corner), padded)
        beyond = np.ravel_multi_index((np.zeros_like(steps[0]), *steps), padded)
        x = tf.gather(
            tf.reshape(x, [-1, channels]),
            first[:, None] + beyond.reshape(1, -1),
        )
        groups = self._groups
        x = tf.reshape(x, [len(which), -1, groups, channels // groups])
        x = tf.transpose(x, [2, 0, 1, 3])
        return tf.reshape(x, [groups, len(which), -1])


def _channels_last(layer, x: tf.Tensor) -> tf.Tensor:
    if layer.data_format != "channels_first":
        return x
    return tf.transpose(x, [0, *range(2, len(x.shape)), 1])


_FORMS: dict[type, Callable[..., Form | None]] = {
    layers.Dense: _dense,
    layers.EinsumDense: _einsum,
    layers.Conv1D: _conv,
    layers.Conv2D: _conv,
    layers.Conv3D: _conv,
    layers.Conv1DTranspose: _transposed,
    layers.Conv2DTranspose: _transposed,
    layers.Conv3DTranspose: _transposed,
    layers.DepthwiseConv1D: _depthwise,
    layers.DepthwiseConv2D: _depthwise,
    layers.SeparableConv1D: _separable,
    layers.SeparableConv2D: _separable,
}
