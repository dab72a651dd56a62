"""Small networks for small images, quick runs and classic benchmarks."""

import keras

from packnet_tf.networks import preprocessing
from packnet_tf.networks.options import (
    check_counts,
    check_image_size,
    check_shares,
)

MIN_IMAGE_SIZE = 8


def cnn(image_size: int, width: int = 48, dropout: float = 0.0) -> keras.Model:
    """Returns a backbone of three convolution blocks and a dense layer.

    With the default width it has 196,000 weights for any image size.

    Args:
        image_size: Height and width, 8 pixels or more.
        width: Filters of the first block; the others have 2 and 3 times as
            many.
        dropout: Share of the features dropped in training.

    Returns:
        A functional model from pixels 0 to 255, [batch, height, width, 3],
        to features [batch, 4 * width].

    Raises:
        NetworkError: If an argument is out of its range.
    """
    check_image_size("cnn", image_size, MIN_IMAGE_SIZE)
    check_counts("cnn", width=width)
    check_shares("cnn", dropout=dropout)
    images = keras.Input((image_size, image_size, 3), name="images")
    x = preprocessing.apply("tf", images)
    for block in (1, 2, 3):
        x = keras.layers.Conv2D(
            block * width,
            3,
            padding="same",
            use_bias=False,
            name=f"block{block}_conv",
        )(x)
        x = keras.layers.BatchNormalization(
            momentum=0.9, name=f"block{block}_norm"
        )(x)
        x = keras.layers.ReLU(name=f"block{block}_relu")(x)
        if block < 3:
            x = keras.layers.MaxPooling2D(name=f"block{block}_pool")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dense(4 * width, activation="relu", name="features")(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name="features_dropout")(x)
    return keras.Model(images, x, name="cnn")


def mlp(
    image_size: int, width: int = 256, depth: int = 2, dropout: float = 0.0
) -> keras.Model:
    """Returns a backbone of dense layers on the pixels.

    Args:
        image_size: Height and width, in pixels.
        width: Units of each layer.
        depth: Number of layers.
        dropout: Share of each layer's outputs dropped in training.

    Returns:
        A functional model from pixels 0 to 255, [batch, height, width, 3],
        to features [batch, width].

    Raises:
        NetworkError: If an argument is out of its range.

    Example:

    >>> mlp(28, depth=3).output_shape
    (None, 256)
    """
    check_counts("mlp", width=width, depth=depth)
    check_shares("mlp", dropout=dropout)
    images = keras.Input((image_size, image_size, 3), name="images")
    x = preprocessing.apply("tf", images)
    x = keras.layers.Flatten(name="flatten")(x)
    for i in range(1, depth + 1):
        x = keras.layers.Dense(width, activation="relu", name=f"dense{i}")(x)
        if dropout:
            x = keras.layers.Dropout(dropout, name=f"dense{i}_dropout")(x)
    return keras.Model(images, x, name="mlp")
