"""A small convolutional network, for small images and quick runs."""

import keras


def cnn(image_size: int, width: int = 48) -> keras.Model:
    """Returns a backbone of three convolution blocks and a dense layer.

    Args:
        image_size: Height and width, 8 pixels or more.
        width: Filters of the first block; the others have 2 and 3 times it.

    Returns:
        A functional model from pixels 0 to 255 to `4 * width` features.
    """
    images = keras.Input((image_size, image_size, 3), name="images")
    x = keras.layers.Rescaling(
        1 / 127.5, offset=-1.0, name="preprocessing"
    )(images)
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
    return keras.Model(images, x, name="cnn")
