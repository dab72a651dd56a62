"""Masked twins of Keras layers, and the mixin that makes them."""

from packnet_tf.layers.attention import (
    MaskedGroupedQueryAttention,
    MaskedMultiHeadAttention,
)
from packnet_tf.layers.conv import MaskedConv1D, MaskedConv2D, MaskedConv3D
from packnet_tf.layers.dense import MaskedDense
from packnet_tf.layers.depthwise import (
    MaskedDepthwiseConv1D,
    MaskedDepthwiseConv2D,
)
from packnet_tf.layers.einsum_dense import MaskedEinsumDense
from packnet_tf.layers.embedding import MaskedEmbedding
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
from packnet_tf.layers.separable import (
    MaskedSeparableConv1D,
    MaskedSeparableConv2D,
)
from packnet_tf.layers.transpose import (
    MaskedConv1DTranspose,
    MaskedConv2DTranspose,
    MaskedConv3DTranspose,
)

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
