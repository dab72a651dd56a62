"""The masked twins of the convolutions."""

import keras

from packnet_tf.layers.masked import Masked
from packnet_tf.layers.registry import twin_of


@twin_of(keras.layers.Conv1D)
class MaskedConv1D(Masked, keras.layers.Conv1D):
    """A `keras.layers.Conv1D` whose kernel is shared by a mask.

    Args:
        *args: As for `keras.layers.Conv1D`.
        prunable: Whether pruning takes weights of the kernel.
        **kwargs: As for `keras.layers.Conv1D`.

    Example:

    >>> layer = MaskedConv1D(16, 3, padding="causal")
    >>> layer(keras.ops.ones((1, 8, 3))).shape
    TensorShape([1, 8, 16])
    """


@twin_of(keras.layers.Conv2D)
class MaskedConv2D(Masked, keras.layers.Conv2D):
    """A `keras.layers.Conv2D` whose kernel is shared by a mask.

    Args:
        *args: As for `keras.layers.Conv2D`.
        prunable: Whether pruning takes weights of the kernel.
        **kwargs: As for `keras.layers.Conv2D`.

    Example:

    >>> layer = MaskedConv2D(16, 3, padding="same")
    >>> layer(keras.ops.ones((1, 8, 8, 3))).shape
    TensorShape([1, 8, 8, 16])
    """


@twin_of(keras.layers.Conv3D)
class MaskedConv3D(Masked, keras.layers.Conv3D):
    """A `keras.layers.Conv3D` whose kernel is shared by a mask.

    Args:
        *args: As for `keras.layers.Conv3D`.
        prunable: Whether pruning takes weights of the kernel.
        **kwargs: As for `keras.layers.Conv3D`.

    Example:

    >>> layer = MaskedConv3D(16, 3)
    >>> layer(keras.ops.ones((1, 8, 8, 8, 3))).shape
    TensorShape([1, 6, 6, 6, 16])
    """
