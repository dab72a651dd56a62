"""Masked twins of Keras layers, and the mixin that makes them."""

from packnet_tf.layers.conv import MaskedConv2D
from packnet_tf.layers.dense import MaskedDense
from packnet_tf.layers.depthwise import MaskedDepthwiseConv2D
from packnet_tf.layers.einsum_dense import MaskedEinsumDense
from packnet_tf.layers.masked import Masked, MaskedKernel
from packnet_tf.layers.separable import (
    MaskedSeparableConv1D,
    MaskedSeparableConv2D,
)
from packnet_tf.layers.twins import TWINS

__all__ = [
    "TWINS",
    "Masked",
    "MaskedConv2D",
    "MaskedDense",
    "MaskedDepthwiseConv2D",
    "MaskedEinsumDense",
    "MaskedKernel",
    "MaskedSeparableConv1D",
    "MaskedSeparableConv2D",
]
