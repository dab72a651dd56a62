"""The masked twin of `EinsumDense`."""

import keras

from packnet_tf.layers.masked import Masked
from packnet_tf.layers.registry import twin_of


@twin_of(keras.layers.EinsumDense)
class MaskedEinsumDense(Masked, keras.layers.EinsumDense):
    """A `keras.layers.EinsumDense` whose kernel is shared by a mask.

    Args:
        *args: As for `keras.layers.EinsumDense`.
        prunable: Whether pruning takes weights of the kernel.
        **kwargs: As for `keras.layers.EinsumDense`.

    Example:

    >>> layer = MaskedEinsumDense("abc,cd->abd", output_shape=(None, 8))
    >>> layer(keras.ops.ones((1, 5, 4))).shape
    TensorShape([1, 5, 8])
    """
