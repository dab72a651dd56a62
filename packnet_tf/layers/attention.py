"""The masked twins of attention layers."""

import keras

from packnet_tf.errors import ConversionError
from packnet_tf.layers.composite import NOTHING, Inside, MaskedInside
from packnet_tf.layers.registry import twin_of
from packnet_tf.tf_internals.layers import forbid_flash_attention


class _Attention(MaskedInside):
    """Base of the twins."""

    def become_masked(
        self, inside: Inside | None = None, around: Inside = NOTHING
    ):
        """See `InnerTwins`; flash attention is refused."""
        if forbid_flash_attention(self):
            raise ConversionError(
                f"flash_attention=True of masked layer {self.name!r}: the "
                "program that computes the attention, and so its bytes, would "
                "depend on the device and the shapes; leave out "
                "flash_attention."
            )
        super().become_masked(inside, around)


@twin_of(keras.layers.MultiHeadAttention)
class MaskedMultiHeadAttention(_Attention, keras.layers.MultiHeadAttention):
    """A `keras.layers.MultiHeadAttention` with masked projections.

    The projections are `MaskedEinsumDense` layers with the names `query`,
    `key`, `value` and `attention_output` (and `gate`).

    Args:
        *args: As for `keras.layers.MultiHeadAttention`.
        inside: Settings of single projections, by name, such as
            `{"query": {"prunable": False}}`; None for one whose weights are
            private to each task.
        **kwargs: As for `keras.layers.MultiHeadAttention`; flash attention
            is refused.

    Example:

    >>> layer = MaskedMultiHeadAttention(num_heads=2, key_dim=4)
    >>> x = keras.ops.ones((1, 5, 8))
    >>> layer(x, x).shape
    TensorShape([1, 5, 8])
    >>> layer.query_dense.mask.shape
    TensorShape([8, 2, 4])
    """


@twin_of(keras.layers.GroupQueryAttention)
class MaskedGroupedQueryAttention(_Attention, keras.layers.GroupQueryAttention):
    """A `keras.layers.GroupQueryAttention` with masked projections.

    Args:
        *args: As for `keras.layers.GroupQueryAttention`.
        inside: See `MaskedMultiHeadAttention`.
        **kwargs: As for `keras.layers.GroupQueryAttention`; flash
            attention is refused.

    Example:

    >>> layer = MaskedGroupedQueryAttention(
    ...     head_dim=4, num_query_heads=4, num_key_value_heads=2
    ... )
    >>> x = keras.ops.ones((1, 5, 8))
    >>> layer(x, x).shape
    TensorShape([1, 5, 8])
    """
