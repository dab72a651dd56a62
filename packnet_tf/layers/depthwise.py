"""The masked twins of the depthwise convolutions."""

import keras

from packnet_tf.layers.masked import Masked
from packnet_tf.layers.registry import twin_of


class _Depthwise(Masked):
    """What the twins share."""

    depthwise_kernels = ("kernel",)
    default_prunable = False


@twin_of(keras.layers.DepthwiseConv1D)
class MaskedDepthwiseConv1D(_Depthwise, keras.layers.DepthwiseConv1D):
    """A `keras.layers.DepthwiseConv1D` whose kernel is shared by a mask.

    Depthwise kernels are few weights that each matter much, so they are not
    pruned by default; a `PackNet` keeps those of a plain model private to
    each task unless it is told otherwise.

    Args:
        *args: As for `keras.layers.DepthwiseConv1D`.
        prunable: Whether pruning takes weights of the kernel; by default
            not.
        **kwargs: As for `keras.layers.DepthwiseConv1D`.

    Example:

    >>> layer = MaskedDepthwiseConv1D(3, prunable=True)
    >>> layer(keras.ops.ones((1, 8, 4))).shape
    TensorShape([1, 6, 4])
    """


@twin_of(keras.layers.DepthwiseConv2D)
class MaskedDepthwiseConv2D(_Depthwise, keras.layers.DepthwiseConv2D):
    """A `keras.layers.DepthwiseConv2D` whose kernel is shared by a mask.

    Depthwise kernels are few weights that each matter much, so they are not
    pruned by default; a `PackNet` keeps those of a plain model private to
    each task unless it is told otherwise.

    Args:
        *args: As for `keras.layers.DepthwiseConv2D`.
        prunable: Whether pruning takes weights of the kernel; by default
            not.
        **kwargs: As for `keras.layers.DepthwiseConv2D`.

    Example:

    >>> layer = MaskedDepthwiseConv2D(3, padding="same", prunable=True)
    >>> layer(keras.ops.ones((1, 8, 8, 4))).shape
    TensorShape([1, 8, 8, 4])
    """
