"""Every network of keras.applications gets what its weights expect."""

import inspect
import sys

import keras
import numpy as np
import pytest
from keras.src.applications import imagenet_utils

from packnet_tf.errors import NetworkError
from packnet_tf.networks import build
from packnet_tf.networks.preprocessing import apply, mode_of

CONSTRUCTORS = {
    name: value
    for name, value in vars(keras.applications).items()
    if inspect.isfunction(value)
}
INSIDE = ("inside", "efficientnet")


def pixels(size=8, count=2):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (count, size, size, 3)).astype("float32")


def module_of(constructor):
    """The module with the constructor's own `preprocess_input`."""
    module = sys.modules[constructor.__module__]
    if "ResNet" in constructor.__name__ and "V2" in constructor.__name__:
        module = keras.applications.resnet_v2
    return module


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_it_is_what_keras_computes(name):
    mode = mode_of(name)
    expected = np.asarray(
        module_of(CONSTRUCTORS[name]).preprocess_input(pixels())
    )
    if mode in INSIDE:
        # There Keras does nothing outside the network.
        assert expected.tobytes() == pixels().tobytes()
        return
    images = keras.Input((8, 8, 3))
    found = np.asarray(keras.Model(images, apply(mode, images))(pixels()))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert expected.tobytes() != pixels().tobytes()


@pytest.mark.parametrize(
    "name, mode",
    [
        ("MobileNetV3Small", "tf"),
        ("EfficientNetV2B0", "torch"),
        ("ConvNeXtTiny", "torch"),
        ("MobileNet", "tf"),
        ("VGG16", "caffe"),
        pytest.param("EfficientNetV2S", "tf", marks=pytest.mark.slow),
        pytest.param("DenseNet121", "torch", marks=pytest.mark.slow),
    ],
)
def test_what_reaches_the_first_convolution(name, mode):
    """Whoever does it, it is done, and once."""
    network = build(name, image_size=32, weights="none")
    body = network.backbone.layers[-1]
    first = next(
        layer
        for layer in body.layers
        if any(
            isinstance(part, keras.layers.Conv2D)
            for part in layer._flatten_layers()
        )
    )
    above = keras.Model(body.inputs, first.input)
    prepared = pixels(32)
    if network.preprocessing != "inside":
        layer = network.backbone.get_layer("preprocessing")
        outer = keras.Model(network.backbone.inputs, layer.output)
        prepared = outer([prepared])
    found = np.asarray(above([prepared]))
    expected = imagenet_utils.preprocess_input(pixels(32), mode=mode)
    start = (found.shape[1] - 32) // 2  # Zeros around it.
    found = found[:, start : start + 32, start : start + 32]
    tolerance = 0.01 if name == "EfficientNetV2S" else 1e-4  # x / 128 - 1
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", CONSTRUCTORS)
def test_networks_that_do_it_themselves_are_asked_to(name):
    """`build` never passes what would take it out of the network."""
    parameters = inspect.signature(CONSTRUCTORS[name]).parameters
    does = "include_preprocessing" in parameters or name.startswith(
        "EfficientNetB"
    )
    assert does == (mode_of(name) in INSIDE)
    if "include_preprocessing" in parameters:
        assert parameters["include_preprocessing"].default is True
        with pytest.raises(NetworkError, match="no option 'include_prepro"):
            build(
                name,
                image_size=32,
                weights="none",
                options={"include_preprocessing": False},
            )


@pytest.mark.parametrize(
    "mode, module",
    [
        ("tf", keras.applications.mobilenet),
        ("caffe", keras.applications.vgg16),
        ("torch", keras.applications.densenet),
    ],
)
def test_preprocessing_is_that_of_keras(mode, module):
    images = keras.Input((8, 8, 3))
    model = keras.Model(images, apply(mode, images))
    found = np.asarray(model(pixels()))
    expected = np.asarray(module.preprocess_input(pixels()))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_what_a_network_does_inside_is_not_done_outside():
    images = keras.Input((8, 8, 3))
    assert apply("inside", images) is images
    stock = keras.applications.efficientnet.preprocess_input(pixels())
    assert np.asarray(stock).tobytes() == pixels().tobytes()


@pytest.mark.parametrize("mode", ["tf", "caffe", "torch", "efficientnet"])
def test_preprocessing_is_stock_keras_and_float32(mode, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        images = keras.Input((8, 8, 3))
        model = keras.Model(images, apply(mode, images))
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.output.dtype == "float32"
    for operation in model.operations:
        assert type(operation).__module__.startswith("keras.")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert np.array_equal(loaded(pixels()), model(pixels()))


def test_preprocessing_of_an_unknown_family_is_refused():
    with pytest.raises(NetworkError, match="of NewNet's weights is unknown"):
        mode_of("NewNet")
