"""A network whose bytes depend on what TensorFlow knows of its shapes."""

import keras

SIZE = 16


def residual():
    """As ResNet-50 at 32 pixels ends: sums of scaled maps of one pixel."""
    layers = keras.layers
    x = images = keras.Input((SIZE, SIZE, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(x)
    for filters in (8, 16, 32, 64):
        short = layers.Conv2D(filters, 1, strides=2)(x)
        short = layers.BatchNormalization()(short)
        x = layers.Conv2D(filters, 3, strides=2, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.BatchNormalization()(layers.Conv2D(filters, 1)(x))
        x = layers.ReLU()(layers.Add()([short, x]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, x)
