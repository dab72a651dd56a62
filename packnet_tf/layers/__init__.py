"""Masked twins of Keras layers, and the mixin that makes them."""

import keras

from packnet_tf.layers.conv import MaskedConv2D
from packnet_tf.layers.dense import MaskedDense
from packnet_tf.layers.depthwise import MaskedDepthwiseConv2D
from packnet_tf.layers.einsum_dense import MaskedEinsumDense
from packnet_tf.layers.masked import Masked, MaskedKernel

# Which masked class stands in for which stock class. Exact classes: a
# subclass of a stock layer may do anything with its kernel.
TWINS: dict[type[keras.layers.Layer], type[Masked]] = {
    keras.layers.Dense: MaskedDense,
    keras.layers.Conv2D: MaskedConv2D,
    keras.layers.DepthwiseConv2D: MaskedDepthwiseConv2D,
    keras.layers.EinsumDense: MaskedEinsumDense,
}

__all__ = [
    "TWINS",
    "Masked",
    "MaskedConv2D",
    "MaskedDense",
    "MaskedDepthwiseConv2D",
    "MaskedEinsumDense",
    "MaskedKernel",
]
