"""The networks that are made here: mlp, vgg16_bn, vit."""

import keras
import numpy as np
import pytest

from packnet_tf.convert.coverage import coverage
from packnet_tf.convert.mask_model import mask_model
from packnet_tf.errors import NetworkError
from packnet_tf.networks import available, build, check_name
from packnet_tf.networks.vgg import vgg16_bn
from packnet_tf.networks.vit import vit

VIT = {"patch_size": 4, "width": 16, "depth": 2, "heads": 2}


def pixels(size, count=3):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (count, size, size, 3)).astype("float32")


def test_they_are_available():
    assert {"cnn", "mlp", "vit", "vgg16_bn"} < set(available())
    for name in ("MLP", "ViT", "vgg16_bn", "own.keras"):
        check_name(name)
    with pytest.raises(NetworkError, match="did you mean .*vgg16_bn"):
        check_name("vgg16bn")


def test_mlp():
    options = {"width": 24, "depth": 3, "dropout": 0.1}
    network = build("mlp", image_size=6, weights="none", options=options)
    backbone = network.backbone
    assert backbone.output_shape == (None, 24)
    assert (network.head, network.preprocessing) == (None, "tf")
    kinds = [type(layer) for layer in backbone.layers]
    assert kinds.count(keras.layers.Dense) == 3
    assert kinds.count(keras.layers.Dropout) == 3
    masked = mask_model(backbone)
    assert coverage(masked).weights_masked == 108 * 24 + 2 * 24 * 24
    assert (
        np.asarray(masked(pixels(6))).tobytes()
        == np.asarray(backbone(pixels(6))).tobytes()
    )


def test_vgg16_bn_is_vgg16_with_normalizations():
    plain = keras.applications.VGG16(
        weights=None, input_shape=(32, 32, 3), classes=2
    )
    model = vgg16_bn(input_shape=(32, 32, 3), classes=2)
    kernels = {
        layer.name: tuple(layer.kernel.shape)
        for layer in model.layers
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))
    }
    assert kernels == {
        layer.name: tuple(layer.kernel.shape)
        for layer in plain.layers
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense))
    }
    # Each convolution, then its normalization, then its activation.
    for i, layer in enumerate(model.layers):
        if isinstance(layer, keras.layers.Conv2D):
            assert layer.activation is keras.activations.linear
            norm, relu = model.layers[i + 1 : i + 3]
            assert type(norm) is keras.layers.BatchNormalization
            assert type(relu) is keras.layers.ReLU


def test_vgg16_bn_by_name(tmp_path):
    keras.utils.set_random_seed(0)
    whole = vgg16_bn(input_shape=(32, 32, 3), classes=3)
    path = str(tmp_path / "whole.weights.h5")
    whole.save_weights(path)
    network = build(
        "vgg16_bn", image_size=32, weights=path, options={"classes": 3}
    )
    body = network.backbone.layers[-1]
    assert [layer.name for layer in body.layers[-5:]] == [
        "flatten",
        "fc1",
        "fc1_dropout",
        "fc2",
        "fc2_dropout",
    ]
    assert {layer.rate for layer in body.layers[-3::2]} == {0.5}
    assert network.classes == 3 and network.preprocessing == "torch"
    prepared = keras.applications.densenet.preprocess_input(pixels(32))
    np.testing.assert_allclose(
        network.head(network.backbone(pixels(32))),
        whole(prepared),
        rtol=1e-3,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("mlp", {"weights": "imagenet"}, "mlp has no published weights; use"),
        ("mlp", {"options": {"width": 0}}, "width=0 of mlp must be 1 or"),
        ("mlp", {"options": {"depth": 0}}, "depth=0 of mlp must be 1 or"),
        ("mlp", {"options": {"dropout": 1.0}}, "dropout=1.0 of mlp"),
        ("vgg16_bn", {"weights": "imagenet"}, "none for vgg16_bn; use --we"),
        ("vgg16_bn", {"image_size": 31}, "--image_size=31: vgg16_bn needs 32"),
        ("vgg16_bn", {"options": {"classes": 0}}, "classes=0 of vgg16_bn"),
        ("vgg16_bn", {"options": {"dropout": -1}}, "dropout=-1 of vgg16_bn"),
        ("vit", {"weights": "imagenet"}, "vit has no published weights; use"),
        ("vit", {"image_size": 33}, "--image_size=33: vit takes a multiple"),
        (
            "vit",
            {"options": {"heads": 5}},
            "width=192 of vit must be a multiple",
        ),
        ("vit", {"options": {"depth": 0}}, "depth=0 of vit must be 1 or"),
        ("vit", {"options": {"stochastic_depth": 1}}, "stochastic_depth=1 of"),
    ],
)
def test_they_refuse(name, changes, message):
    with pytest.raises(NetworkError, match=message) as error:
        build(name, **{"image_size": 32, "weights": "none", **changes})
    assert "\n" not in str(error.value)


def test_vit_is_vit_tiny_by_default():
    model = vit(224)
    assert model.output_shape == (None, 192)
    # ViT-Tiny/16 without its classifier, the class token with its place, and
    # a bias of the patches beside their places.
    assert model.count_params() == 5_717_416 - 193_000 - 3 * 192


def test_vit_patches_are_those_of_a_convolution():
    model = vit(16, **VIT)
    embedding = model.get_layer("embedding")
    convolution = keras.layers.Conv2D(16, 4, strides=4, use_bias=False)
    images = pixels(16)
    convolution.build(images.shape)
    convolution.kernel.assign(embedding.kernel)
    patches = model.get_layer("patches")(images)
    np.testing.assert_allclose(
        embedding(patches) - embedding.bias,
        convolution(images),
        rtol=1e-4,
        atol=1e-2,
    )
    # A place of its own for every patch.
    assert tuple(embedding.bias.shape) == (4, 4, 16)
    assert np.asarray(embedding.bias).std() > 0


def test_vit_drops_only_in_training():
    model = vit(16, **VIT, dropout=0.2, stochastic_depth=0.5)
    drops = {
        layer.name: (layer.rate, layer.noise_shape)
        for layer in model.layers
        if isinstance(layer, keras.layers.Dropout)
    }
    # Depth rises from 0: the first block has none.
    assert {n: d for n, d in drops.items() if d[1] is not None} == {
        "block2_depth1": (0.5, (None, 1, 1)),
        "block2_depth2": (0.5, (None, 1, 1)),
    }
    assert len(drops) == 1 + 2 * 2 + 2
    first, second = (np.asarray(model(pixels(16))) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    first, second = (
        np.asarray(model(pixels(16), training=True)) for _ in range(2)
    )
    assert first.tobytes() != second.tobytes()
