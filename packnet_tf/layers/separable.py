"""The masked twins of separable convolutions: two kernels a layer."""

import keras

from packnet_tf.layers.masked import Masked
from packnet_tf.layers.registry import twin_of


class _Separable(Masked):
    """What the twins share.

    Depthwise kernels are few weights that each matter much: they are not
    pruned by default, and a `PackNet` keeps those of a plain model private
    to each task unless it is told otherwise.
    """

    kernel_names = ("depthwise_kernel", "pointwise_kernel")
    depthwise_kernels = ("depthwise_kernel",)
    default_prunable = ("pointwise_kernel",)


@twin_of(keras.layers.SeparableConv1D)
class MaskedSeparableConv1D(_Separable, keras.layers.SeparableConv1D):
    """A `keras.layers.SeparableConv1D` with both kernels under masks.

    Args:
        *args: As for `keras.layers.SeparableConv1D`.
        prunable: Which kernels pruning takes weights of; by default the
            pointwise one.
        private_kernels: Kernels without a mask, private to each task.
        **kwargs: As for `keras.layers.SeparableConv1D`.

    Example:

    >>> layer = MaskedSeparableConv1D(8, 3)
    >>> layer(keras.ops.ones((1, 9, 4))).shape
    TensorShape([1, 7, 8])
    """


@twin_of(keras.layers.SeparableConv2D)
class MaskedSeparableConv2D(_Separable, keras.layers.SeparableConv2D):
    """A `keras.layers.SeparableConv2D` with both kernels under masks.

    Args:
        *args: As for `keras.layers.SeparableConv2D`.
        prunable: Which kernels pruning takes weights of; by default the
            pointwise one.
        private_kernels: Kernels without a mask, private to each task.
        **kwargs: As for `keras.layers.SeparableConv2D`.

    Example:

    >>> layer = MaskedSeparableConv2D(
    ...     8, 3, private_kernels=["depthwise_kernel"]
    ... )
    >>> layer(keras.ops.ones((1, 9, 9, 4))).shape
    TensorShape([1, 7, 7, 8])
    >>> [kernel.name for kernel in layer.masked_kernels()]
    ['pointwise_kernel']
    """
