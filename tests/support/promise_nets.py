"""Three small networks, of one kind each, for the matrix of the promise."""

import keras

SIZE = 8


def mobilenet(**kernel):
    """Depthwise separable convolutions with batch normalization."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            layers.Rescaling(1 / 127.5, -1.0),
            layers.Conv2D(6, 3, strides=2, use_bias=False, **kernel),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.DepthwiseConv2D(3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.Conv2D(8, 1, use_bias=False, **kernel),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.GlobalAveragePooling2D(),
        ]
    )


def vgg(**kernel):
    """Convolutions, and large dense layers with dropout above them."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            layers.Rescaling(1 / 127.5, -1.0),
            layers.Conv2D(6, 3, activation="relu", **kernel),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 3, activation="relu", **kernel),
            layers.Flatten(),
            layers.Dense(12, activation="relu", **kernel),
            layers.Dropout(0.3),
        ]
    )


def vit(**kernel):
    """Patches, attention and layer normalization."""
    layers = keras.layers
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Rescaling(1 / 127.5, -1.0)(inputs)
    x = layers.Conv2D(8, 4, strides=4, **kernel)(x)
    x = layers.Reshape((4, 8))(x)
    y = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(2, 4, **kernel)(y, y)
    y = layers.LayerNormalization()(x)
    y = layers.Dense(12, activation="gelu", **kernel)(y)
    x = x + layers.Dense(8, **kernel)(y)
    return keras.Model(inputs, layers.GlobalAveragePooling1D()(x))


NETWORKS = {"mobilenet": mobilenet, "vgg": vgg, "vit": vit}
