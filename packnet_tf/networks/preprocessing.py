"""The preprocessing of pretrained weights, as layers of the backbone.

Backbones take pixels from 0 to 255. What `keras.applications` computes in a
function outside the model is here inside it, so that training, evaluation
and serving cannot differ. The layers are stock ones, with fixed numbers.
"""

import keras

_CAFFE_MEANS = (103.939, 116.779, 123.68)  # blue, green, red
_TORCH_MEANS = (0.485, 0.456, 0.406)
_TORCH_DEVIATIONS = (0.229, 0.224, 0.225)

# Families of keras.applications by the start of their constructors' names;
# the first that fits counts.
_MODES = {
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
    "EfficientNet": "inside",
    "ConvNeXt": "inside",
}


def mode_of(constructor: str) -> str | None:
    """Returns the preprocessing of a `keras.applications` constructor.

    Args:
        constructor: Its name, e.g. `"VGG16"`.

    Returns:
        `"tf"` (x / 127.5 - 1), `"caffe"` (BGR, ImageNet's means taken off),
        `"torch"` (0 to 1, ImageNet's means and deviations), `"inside"` (the
        network does it), or None if the family is not known.
    """
    for start, mode in _MODES.items():
        if constructor.startswith(start):
            return mode
    return None


def apply(mode: str, images):
    """Returns preprocessed images.

    Args:
        mode: See `mode_of`; `"inside"` and `"none"` change nothing.
        images: Keras tensor [batch, height, width, 3], pixels 0 to 255.
    """
    if mode == "tf":
        return keras.layers.Rescaling(
            1 / 127.5, offset=-1.0, name="preprocessing"
        )(images)
    if mode == "torch":
        scale = [1 / (255 * d) for d in _TORCH_DEVIATIONS]
        offset = [
            -m / d
            for m, d in zip(_TORCH_MEANS, _TORCH_DEVIATIONS, strict=True)
        ]
        return keras.layers.Rescaling(
            scale, offset=offset, name="preprocessing"
        )(images)
    if mode == "caffe":
        return ToCaffe(name="preprocessing")(images)
    return images


@keras.saving.register_keras_serializable("packnet_tf")
class ToCaffe(keras.layers.Layer):
    """Red, green, blue to blue, green, red, less the means of ImageNet.

    What the VGG and ResNet weights of `keras.applications` were trained on.
    """

    def call(self, images):
        """Returns float images of the same shape.

        Args:
            images: [batch, height, width, 3], pixels 0 to 255.
        """
        means = keras.ops.convert_to_tensor(_CAFFE_MEANS, images.dtype)
        return keras.ops.flip(images, axis=-1) - means

    def compute_output_shape(self, input_shape):
        """Returns the input's shape."""
        return input_shape
