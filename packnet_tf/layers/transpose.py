"""The masked twins of the transposed convolutions."""

import keras

from packnet_tf.layers.masked import Masked
from packnet_tf.layers.registry import twin_of


@twin_of(keras.layers.Conv1DTranspose)
class MaskedConv1DTranspose(Masked, keras.layers.Conv1DTranspose):
    """A `keras.layers.Conv1DTranspose` whose kernel is shared by a mask.

    Args:
        *args: As for `keras.layers.Conv1DTranspose`.
        prunable: Whether pruning takes weights of the kernel.
        **kwargs: As for `keras.layers.Conv1DTranspose`.

    Example:

    >>> layer = MaskedConv1DTranspose(4, 3, strides=2)
    >>> layer(keras.ops.ones((1, 5, 3))).shape
    TensorShape([1, 11, 4])
    """


@twin_of(keras.layers.Conv2DTranspose)
class MaskedConv2DTranspose(Masked, keras.layers.Conv2DTranspose):
    """A `keras.layers.Conv2DTranspose` whose kernel is shared by a mask.

    Args:
        *args: As for `keras.layers.Conv2DTranspose`.
        prunable: Whether pruning takes weights of the kernel.
        **kwargs: As for `keras.layers.Conv2DTranspose`.

    Example:

    >>> layer = MaskedConv2DTranspose(4, 3, strides=2)
    >>> layer(keras.ops.ones((1, 5, 5, 3))).shape
    TensorShape([1, 11, 11, 4])
    """


@twin_of(keras.layers.Conv3DTranspose)
class MaskedConv3DTranspose(Masked, keras.layers.Conv3DTranspose):
    """A `keras.layers.Conv3DTranspose` whose kernel is shared by a mask.

    Args:
        *args: As for `keras.layers.Conv3DTranspose`.
        prunable: Whether pruning takes weights of the kernel.
        **kwargs: As for `keras.layers.Conv3DTranspose`.

    Example:

    >>> layer = MaskedConv3DTranspose(4, 3)
    >>> layer(keras.ops.ones((1, 5, 5, 5, 3))).shape
    TensorShape([1, 7, 7, 7, 4])
    """
