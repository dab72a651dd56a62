"""VGG-16 with batch normalization, which `keras.applications` lacks."""

import keras

from packnet_tf.errors import NetworkError
from packnet_tf.networks.options import check_counts, check_image_size

MIN_IMAGE_SIZE = 32
# Filters of the convolutions between two poolings: VGG's configuration D.
_BLOCKS = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)


def vgg16_bn(
    weights: str | None = None,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 1000,
    name: str = "vgg16_bn",
) -> keras.Model:
    """Returns a whole VGG-16 with batch normalization, including its head.

    Layers are named and ordered as in `keras.applications.VGG16`, each
    convolution followed by its normalization. The paper (section 4) starts
    from torchvision's weights for this network; therefore convolutions have
    biases, and moving averages and epsilon are torchvision's.

    Args:
        weights: None; there are no published ones in Keras's format.
        input_shape: Height, width and channels, 32 pixels or more.
        classes: Outputs of the head.
        name: Name of the model.

    Returns:
        A functional model from images, preprocessed as torchvision does, to
        logits [batch, classes].

    Raises:
        NetworkError: If an argument is out of its range.

    Example:

    >>> vgg16_bn(input_shape=(64, 64, 3), classes=10).output_shape
    (None, 10)
    """
    if weights is not None:
        raise NetworkError(
            f"--weights={weights}: Keras Applications has none for {name}; use "
            "--weights=none, or the path of a weights file."
        )
    check_image_size(name, min(input_shape[:2]), MIN_IMAGE_SIZE)
    check_counts(name, classes=classes)
    layers = keras.layers
    x = images = keras.Input(input_shape)
    for block, filters in enumerate(_BLOCKS, 1):
        for i, count in enumerate(filters, 1):
            x = layers.Conv2D(
                count,
                3,
                padding="same",
                kernel_initializer="he_normal",
                name=f"block{block}_conv{i}",
            )(x)
            x = layers.BatchNormalization(
                momentum=0.9, epsilon=1e-5, name=f"block{block}_norm{i}"
            )(x)
            x = layers.ReLU(name=f"block{block}_relu{i}")(x)
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(4096, activation="relu", name="fc1")(x)
    x = layers.Dense(4096, activation="relu", name="fc2")(x)
    x = layers.Dense(classes, name="predictions")(x)
    return keras.Model(images, x, name=name)
