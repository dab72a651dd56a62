"""The masked twin of `Conv2D`."""

import keras

from packnet_tf.layers.masked import Masked
from packnet_tf.layers.twins import twin_of


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
