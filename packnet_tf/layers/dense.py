"""The masked twin of `Dense`."""

import keras

from packnet_tf.layers.masked import Masked
from packnet_tf.layers.registry import twin_of


@twin_of(keras.layers.Dense)
class MaskedDense(Masked, keras.layers.Dense):
    """A `keras.layers.Dense` whose kernel is shared between tasks by a mask.

    Args:
        *args: As for `keras.layers.Dense`.
        prunable: Whether pruning takes weights of the kernel.
        **kwargs: As for `keras.layers.Dense`.

    Example:

    >>> layer = MaskedDense(10, activation="relu")
    >>> layer(keras.ops.ones((2, 4))).shape
    TensorShape([2, 10])
    >>> layer.mask.shape
    TensorShape([4, 10])
    """
