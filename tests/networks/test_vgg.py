"""VGG: fc6 and fc7 are in the backbone."""

import keras
import numpy as np
import pytest
from support.network_parts import pixels, published

from packnet_tf.convert.mask_model import mask_model
from packnet_tf.errors import NetworkError
from packnet_tf.networks import build


def small_vgg(input_shape, classes):
    """As Keras's, in small."""
    images = keras.Input(input_shape)
    x = keras.layers.Conv2D(4, 3, name="block1_conv1")(images)
    x = keras.layers.Flatten(name="flatten")(x)
    for name in ("fc1", "fc2"):
        x = keras.layers.Dense(16, activation="relu", name=name)(x)
    x = keras.layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(images, x, name="vgg16")


@pytest.fixture
def vgg(monkeypatch, tmp_path):
    def VGG16(  # noqa: N802
        weights=None, input_shape=(32, 32, 3), classes=10, name="vgg16"
    ):
        if weights == "imagenet" and input_shape != (32, 32, 3):
            raise ValueError("`input_shape` should be (32, 32, 3)")
        return small_vgg(input_shape, classes)

    monkeypatch.setattr(keras.applications, "VGG16", VGG16)
    model = VGG16()
    model.save_weights(tmp_path / "vgg.weights.h5")
    return model, str(tmp_path / "vgg.weights.h5")


def test_vgg_has_fc6_and_fc7_with_dropout_in_its_backbone(vgg):
    model, path = vgg
    network = build("vgg16", image_size=32, weights=path)
    body = network.backbone.layers[-1]
    assert [layer.name for layer in body.layers[-4:]] == [
        "fc1",
        "fc1_dropout",
        "fc2",
        "fc2_dropout",
    ]
    assert {layer.rate for layer in body.layers[-3::2]} == {0.5}
    assert network.preprocessing == "caffe"
    assert network.head_agreement == {"top1": 1.0, "largest_difference": 0.0}
    prepared = keras.applications.vgg16.preprocess_input(pixels(32))
    scores = keras.ops.softmax(network.head(network.backbone(pixels(32))))
    np.testing.assert_allclose(
        np.asarray(scores), np.asarray(model(prepared)), rtol=1e-3, atol=1e-6
    )
    masked = mask_model(network.backbone)
    assert np.array_equal(masked(pixels(32)), network.backbone(pixels(32)))


def test_vgg_dropout_is_an_option(vgg):
    arguments = {"image_size": 32, "weights": "none"}
    for rate, rates in ((0.3, [0.3, 0.3]), (0, [])):
        network = build("vgg16", options={"dropout": rate}, **arguments)
        body = network.backbone.layers[-1]
        found = [x for x in body.layers if isinstance(x, keras.layers.Dropout)]
        assert [layer.rate for layer in found] == rates
    with pytest.raises(NetworkError, match="dropout=1.5 of vgg16"):
        build("vgg16", options={"dropout": 1.5}, **arguments)


def test_vgg_weights_of_another_size_are_refused(vgg):
    with pytest.raises(NetworkError) as error:
        build("vgg16", image_size=48, weights=vgg[1])
    message = str(error.value)
    assert "layer 'fc1' has an array of shape (3600, 16) in the file" in message
    assert "only one image size" in message and "\n" not in message


def test_published_weights_that_do_not_fit_are_not_fetched(
    vgg, monkeypatch, no_cache
):
    published(monkeypatch, lambda *_: pytest.fail("fetched"))
    message = r"fc1.*\(3600, 16\), but \(8464.*--image_size=32"
    with pytest.raises(NetworkError, match=message):
        build("vgg16", image_size=48)
