"""The masked twins of all convolutions.

They take the arguments of their stock layers and those of `Masked`.
Depthwise kernels have few weights, each of which matters. By default they are
not pruned, and a `PackNet` keeps those of a plain model private to each task.
"""

import keras

from packnet_tf.layers.masked import Masked
from packnet_tf.layers.registry import twin_of


@twin_of(keras.layers.Conv1D)
class MaskedConv1D(Masked, keras.layers.Conv1D):
    """A `keras.layers.Conv1D` whose kernel is shared by a mask."""


@twin_of(keras.layers.Conv2D)
class MaskedConv2D(Masked, keras.layers.Conv2D):
    """A `keras.layers.Conv2D` whose kernel is shared by a mask.

    Example:

    >>> layer = MaskedConv2D(16, 3, padding="same")
    >>> layer(keras.ops.ones((1, 8, 8, 3))).shape
    TensorShape([1, 8, 8, 16])
    """


@twin_of(keras.layers.Conv3D)
class MaskedConv3D(Masked, keras.layers.Conv3D):
    """A `keras.layers.Conv3D` whose kernel is shared by a mask."""


@twin_of(keras.layers.Conv1DTranspose)
class MaskedConv1DTranspose(Masked, keras.layers.Conv1DTranspose):
    """A `keras.layers.Conv1DTranspose` whose kernel is shared by a mask."""


@twin_of(keras.layers.Conv2DTranspose)
class MaskedConv2DTranspose(Masked, keras.layers.Conv2DTranspose):
    """A `keras.layers.Conv2DTranspose` whose kernel is shared by a mask.

    Example:

    >>> layer = MaskedConv2DTranspose(4, 3, strides=2)
    >>> layer(keras.ops.ones((1, 5, 5, 3))).shape
    TensorShape([1, 11, 11, 4])
    """


@twin_of(keras.layers.Conv3DTranspose)
class MaskedConv3DTranspose(Masked, keras.layers.Conv3DTranspose):
    """A `keras.layers.Conv3DTranspose` whose kernel is shared by a mask."""


class _Depthwise(Masked):
    """Base of the twins."""

    depthwise_kernels = ("kernel",)
    default_prunable = False


@twin_of(keras.layers.DepthwiseConv1D)
class MaskedDepthwiseConv1D(_Depthwise, keras.layers.DepthwiseConv1D):
    """A `keras.layers.DepthwiseConv1D` whose kernel is shared by a mask."""


@twin_of(keras.layers.DepthwiseConv2D)
class MaskedDepthwiseConv2D(_Depthwise, keras.layers.DepthwiseConv2D):
    """A `keras.layers.DepthwiseConv2D` whose kernel is shared by a mask.

    Example:

    >>> layer = MaskedDepthwiseConv2D(3, padding="same", prunable=True)
    >>> layer(keras.ops.ones((1, 8, 8, 4))).shape
    TensorShape([1, 8, 8, 4])
    """


class _Separable(Masked):
    """Base of the twins."""

    kernel_names = ("depthwise_kernel", "pointwise_kernel")
    depthwise_kernels = ("depthwise_kernel",)
    default_prunable = ("pointwise_kernel",)


@twin_of(keras.layers.SeparableConv1D)
class MaskedSeparableConv1D(_Separable, keras.layers.SeparableConv1D):
    """A `keras.layers.SeparableConv1D` with both kernels under masks."""


@twin_of(keras.layers.SeparableConv2D)
class MaskedSeparableConv2D(_Separable, keras.layers.SeparableConv2D):
    """A `keras.layers.SeparableConv2D` with both kernels under masks.

    Example:

    >>> layer = MaskedSeparableConv2D(
    ...     8, 3, private_kernels=["depthwise_kernel"]
    ... )
    >>> layer(keras.ops.ones((1, 9, 9, 4))).shape
    TensorShape([1, 7, 7, 8])
    >>> [kernel.name for kernel in layer.masked_kernels()]
    ['pointwise_kernel']
    """
