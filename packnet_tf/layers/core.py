"""The masked twins of Dense, EinsumDense and Embedding."""

from typing import Any

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


@twin_of(keras.layers.EinsumDense)
class MaskedEinsumDense(Masked, keras.layers.EinsumDense):
    """A `keras.layers.EinsumDense` whose kernel is shared by a mask.

    Example:

    >>> layer = MaskedEinsumDense("abc,cd->abd", output_shape=(None, 8))
    >>> layer(keras.ops.ones((1, 5, 4))).shape
    TensorShape([1, 5, 8])
    """


@twin_of(keras.layers.Embedding)
class MaskedEmbedding(Masked, keras.layers.Embedding):
    """A `keras.layers.Embedding` whose vectors are shared by a mask.

    Args:
        input_dim: Number of ids.
        output_dim: Length of a vector.
        embeddings_initializer: As for `keras.layers.Embedding`.
        embeddings_regularizer: The same.
        embeddings_constraint: The same.
        mask_zero: The same.
        weights: The same: the vectors to begin with, an array of shape
            `(input_dim, output_dim)`, or a list of that.
        prunable: Whether pruning takes weights of the vectors.
        **kwargs: As for `keras.layers.Embedding`; LoRA is refused.

    Example:

    >>> layer = MaskedEmbedding(100, 8)
    >>> layer(keras.ops.ones((1, 5), "int32")).shape
    TensorShape([1, 5, 8])
    """

    kernel_names = ("embeddings",)

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        weights: Any = None,
        **kwargs: Any,
    ):
        super().__init__(
            input_dim,
            output_dim,
            embeddings_initializer,
            embeddings_regularizer,
            embeddings_constraint,
            mask_zero,
            **kwargs,
        )
        if weights is not None:
            # The stock layer would give its weights by `set_weights`, which
            # counts the mask too.
            self.build()
            if isinstance(weights, list) and len(weights) == 1:
                weights = weights[0]
            self.embeddings.assign(weights)
