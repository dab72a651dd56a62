"""The preprocessing of pretrained weights, as layers of the backbone.

Backbones take pixels from 0 to 255. What `keras.applications` computes in a
function outside the model happens inside it here, so that training, evaluation
and serving cannot differ. It is stock Keras with fixed numbers, computed in
float32 for any precision of the network: pixels have too many levels for
bfloat16.
"""

import keras

from packnet_tf.errors import NetworkError

_CAFFE_MEANS = (103.939, 116.779, 123.68)  # blue, green, red
_MEANS = (0.485, 0.456, 0.406)
_DEVIATIONS = (0.229, 0.224, 0.225)

# Families of keras.applications by the start of their constructors' names,
# and vgg16_bn; the first match counts.
_MODES = {
    "vgg16_bn": "torch",
    "MobileNetV3": "inside",
    "MobileNet": "tf",
    "VGG": "caffe",
    "ResNet50V2": "tf",
    "ResNet101V2": "tf",
    "ResNet152V2": "tf",
    "ResNet": "caffe",
    "DenseNet": "torch",
    "Inception": "tf",
    "Xception": "tf",
    "NASNet": "tf",
    "EfficientNetB": "efficientnet",
    "EfficientNetV2": "inside",
    "ConvNeXt": "inside",
}


def mode_of(constructor: str) -> str:
    """Returns the preprocessing that a network's published weights expect.

    Args:
        constructor: Name of a `keras.applications` constructor, e.g.
            `"VGG16"`, or `"vgg16_bn"`.

    Returns:
        `"tf"` (x / 127.5 - 1), `"caffe"` (blue, green, red, less ImageNet's
        means), `"torch"` (x / 255, then ImageNet's means and deviations),
        `"inside"` (the network does it all), or `"efficientnet"` (the network
        does all but one factor, see `apply`).

    Raises:
        NetworkError: If the family is unknown: a wrong guess would cost
            accuracy unnoticed.
    """
    for start, mode in _MODES.items():
        if constructor.startswith(start):
            return mode
    raise NetworkError(
        f"The preprocessing of {constructor}'s weights is unknown; save the "
        "network with its preprocessing as a .keras file that takes pixels "
        "from 0 to 255, and give that with --network."
    )


def apply(mode: str, images: keras.KerasTensor) -> keras.KerasTensor:
    """Returns preprocessed images.

    Args:
        mode: See `mode_of`; `"inside"` changes nothing.
        images: Float tensor [batch, height, width, 3], pixels 0 to 255.
    """
    if mode == "inside":
        return images
    if mode == "tf":
        return _rescaling(1 / 127.5, -1.0)(images)
    if mode == "caffe":
        flipped = keras.ops.flip(images, axis=-1)
        return _rescaling(1.0, [-mean for mean in _CAFFE_MEANS])(flipped)
    if mode == "torch":
        pairs = list(zip(_MEANS, _DEVIATIONS, strict=True))
        return _rescaling(
            [1 / (255 * deviation) for _, deviation in pairs],
            [-mean / deviation for mean, deviation in pairs],
        )(images)
    if mode == "efficientnet":
        # The published weights were trained on (x / 255 - mean) / deviation
        # times 1 / sqrt(deviation). Keras applies that factor after the
        # network's own normalization if it downloads the weights itself, but
        # not if they come from a file. Here it comes first.
        factors = [deviation**-0.5 for deviation in _DEVIATIONS]
        return _rescaling(
            factors,
            [
                255 * mean * (1 - factor)
                for mean, factor in zip(_MEANS, factors, strict=True)
            ],
        )(images)
    raise ValueError(f"Unknown preprocessing {mode!r}.")


def _rescaling(scale, offset) -> keras.layers.Layer:
    return keras.layers.Rescaling(
        scale, offset=offset, dtype="float32", name="preprocessing"
    )
