"""Masked twins of Keras layers, and the mixin that makes them."""

from packnet_tf.layers.attention import (
    MaskedGroupedQueryAttention,
    MaskedMultiHeadAttention,
)
from packnet_tf.layers.conv import (
    MaskedConv1D,
    MaskedConv1DTranspose,
    MaskedConv2D,
    MaskedConv2DTranspose,
    MaskedConv3D,
    MaskedConv3DTranspose,
    MaskedDepthwiseConv1D,
    MaskedDepthwiseConv2D,
    MaskedSeparableConv1D,
    MaskedSeparableConv2D,
)
from packnet_tf.layers.core import (
    MaskedDense,
    MaskedEinsumDense,
    MaskedEmbedding,
)
from packnet_tf.layers.kernel import MaskedKernel
from packnet_tf.layers.masked import Masked
from packnet_tf.layers.recurrent import (
    MaskedGRU,
    MaskedGRUCell,
    MaskedLSTM,
    MaskedLSTMCell,
    MaskedSimpleRNN,
    MaskedSimpleRNNCell,
)
from packnet_tf.layers.registry import TWINS

__all__ = [
    "TWINS",
    "Masked",
    "MaskedConv1D",
    "MaskedConv1DTranspose",
    "MaskedConv2D",
    "MaskedConv2DTranspose",
    "MaskedConv3D",
    "MaskedConv3DTranspose",
    "MaskedDense",
    "MaskedDepthwiseConv1D",
    "MaskedDepthwiseConv2D",
    "MaskedEinsumDense",
    "MaskedEmbedding",
    "MaskedGRU",
    "MaskedGRUCell",
    "MaskedGroupedQueryAttention",
    "MaskedKernel",
    "MaskedLSTM",
    "MaskedLSTMCell",
    "MaskedMultiHeadAttention",
    "MaskedSeparableConv1D",
    "MaskedSeparableConv2D",
    "MaskedSimpleRNN",
    "MaskedSimpleRNNCell",
]
