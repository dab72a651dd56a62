"""A Vision Transformer of stock Keras layers."""

import keras

from packnet_tf.errors import NetworkError
from packnet_tf.networks import preprocessing
from packnet_tf.networks.options import check_counts, check_shares


def vit(
    image_size: int,
    patch_size: int = 16,
    width: int = 192,
    depth: int = 12,
    heads: int = 3,
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
) -> keras.Model:
    """Returns a Vision Transformer backbone; by default ViT-Tiny/16.

    Blocks normalize first, and the features are the mean over the patches
    (Beyer, Zhai and Kolesnikov 2022) instead of a class token. The position
    embedding is the bias of the layer that embeds the patches: one vector per
    patch, private to each task.

    Args:
        image_size: Height and width, a multiple of `patch_size`.
        patch_size: Height and width of a patch, in pixels.
        width: Length of the vectors, a multiple of `heads`.
        depth: Number of blocks.
        heads: Attention heads of a block.
        dropout: Share of the embedding, the attention weights, and the
            output of each half of a block that is dropped in training.
        stochastic_depth: Share of images that skip the last block in
            training, rising linearly from 0 for the first (Huang et al.
            2016).

    Returns:
        A functional model from pixels 0 to 255, [batch, height, width, 3],
        to features [batch, width].

    Raises:
        NetworkError: If an argument is out of its range.

    Example:

    >>> vit(64, patch_size=8, width=64, depth=2, heads=2).output_shape
    (None, 64)
    """
    check_counts(
        "vit", patch_size=patch_size, width=width, depth=depth, heads=heads
    )
    check_shares("vit", dropout=dropout, stochastic_depth=stochastic_depth)
    if image_size % patch_size:
        raise NetworkError(
            f"--image_size={image_size}: vit takes a multiple of its "
            f"patch_size, {patch_size} pixels."
        )
    if width % heads:
        raise NetworkError(
            f"--network_options: width={width} of vit must be a multiple of "
            f"its heads, {heads}."
        )
    images = keras.Input((image_size, image_size, 3), name="images")
    x = preprocessing.apply("tf", images)
    x = _embed_patches(x, image_size // patch_size, patch_size, width)
    x = _drop(x, dropout, "embedding_dropout")
    for i in range(depth):
        rate = stochastic_depth * i / max(depth - 1, 1)
        x = _block(x, f"block{i + 1}", heads, dropout, rate)
    x = keras.layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    x = keras.layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(images, x, name="vit")


def _embed_patches(images, side: int, patch: int, width: int):
    """Returns patches, projected and with positions, as a sequence."""
    layers = keras.layers
    x = layers.Reshape((side, patch, side, patch, 3), name="patches")(images)
    x = layers.EinsumDense(
        "bhpwqc,pqcd->bhwd",
        output_shape=(side, side, width),
        bias_axes="hwd",
        bias_initializer=keras.initializers.RandomNormal(stddev=0.02),
        name="embedding",
    )(x)
    return layers.Reshape((side * side, width), name="sequence")(x)


def _block(x, name: str, heads: int, dropout: float, stochastic_depth: float):
    """Returns x after one block: attention, then a two-layer network."""
    layers = keras.layers
    width = x.shape[-1]
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm1")(x)
    y = layers.MultiHeadAttention(
        heads, width // heads, dropout=dropout, name=f"{name}_attention"
    )(y, y)
    y = _drop(y, dropout, f"{name}_dropout1")
    y = _skip(y, stochastic_depth, f"{name}_depth1")
    x = layers.Add(name=f"{name}_add1")([x, y])
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm2")(x)
    y = layers.Dense(4 * width, activation="gelu", name=f"{name}_mlp1")(y)
    y = layers.Dense(width, name=f"{name}_mlp2")(y)
    y = _drop(y, dropout, f"{name}_dropout2")
    y = _skip(y, stochastic_depth, f"{name}_depth2")
    return layers.Add(name=f"{name}_add2")([x, y])


def _drop(x, rate: float, name: str):
    return keras.layers.Dropout(rate, name=name)(x) if rate else x


def _skip(x, rate: float, name: str):
    """Drops the whole output of a block for a share of the images."""
    if not rate:
        return x
    return keras.layers.Dropout(rate, noise_shape=(None, 1, 1), name=name)(x)
