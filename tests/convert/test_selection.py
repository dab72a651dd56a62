"""Layers that stay plain by choice, in a network and in its files."""

import keras
import numpy as np
import pytest
from keras import layers
from support import two_tasks
from support.plain_nets import (
    check,
    fill,
    images,
    sequential,
)

import packnet_tf as pn
from packnet_tf.convert.coverage import coverage
from packnet_tf.convert.mask_model import mask_model
from packnet_tf.errors import ConversionError
from packnet_tf.layers import MaskedDense


@pytest.mark.parametrize(
    "skip",
    [
        "depthwise",
        layers.DepthwiseConv2D,
        lambda layer: layer.name.startswith("depth"),
        ["depthwise"],
        (layers.DepthwiseConv2D, layers.Embedding),
    ],
)
def test_skip(skip):
    twin = check(sequential(), images(), skip=skip)
    assert type(twin.get_layer("depthwise")) is layers.DepthwiseConv2D
    assert isinstance(twin.get_layer("fc"), MaskedDense)
    assert coverage(twin).skipped == ("depthwise",)


def test_skip_of_a_nested_model_covers_its_layers():
    inputs = keras.Input((8, 8, 3))
    model = fill(keras.Model(inputs, layers.Dense(2)(sequential()(inputs))))
    twin = check(model, images(), skip="small")
    assert coverage(twin).layers_masked == 1
    assert coverage(twin).skipped == ("conv", "depthwise", "fc")


def test_skip_of_an_unknown_name():
    with pytest.raises(ConversionError, match="did you mean depthwise"):
        mask_model(sequential(), skip="depthwize")


def test_arguments_of_another_kind():
    with pytest.raises(
        ConversionError, match="skip=3: expected a layer's name"
    ):
        pn.PackNet(sequential(), skip=["fc", 3])
    with pytest.raises(ConversionError, match="depthwise='privat'.: expected"):
        mask_model(sequential(), depthwise="privat")


@keras.saving.register_keras_serializable("test_skipping")
class Scaled(layers.Layer):
    """Has a kernel of its own, which nobody declared."""

    def build(self, input_shape):
        self.matrix = self.add_weight(shape=(input_shape[-1], 5))

    def call(self, x):
        return x @ self.matrix


def test_what_is_skipped_stays_plain_in_a_network_and_its_files(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            Scaled(name="steps"),
            layers.Dense(4, name="plain"),
            layers.Dense(3),
        ]
    )
    x = np.random.default_rng(0).normal(size=(4, 6))
    with pytest.raises(ConversionError, match="Skip them by name"):
        pn.PackNet(model)
    skip = ["steps", "plain"]
    for net in (
        pn.PackNet(mask_model(model, skip=skip)),
        pn.PackNet(model, skip=skip),
    ):
        (kernel,) = net.masked_kernels()
        assert kernel.variable.shape == (4, 3)
        assert set(coverage(net.backbone).skipped) == set(skip)
    packed = {}
    for name in ("one", "two"):
        two_tasks.pack(net, name, x, np.arange(4) % 3, retrain=False)
        packed[name] = two_tasks.scores(net, name, x)
    assert two_tasks.scores(net, "one", x) == packed["one"]
    loaded = two_tasks.check_files(net, packed, x, tmp_path)
    # What was read is written again.
    loaded = two_tasks.check_files(loaded, packed, x, tmp_path, extract=False)
    assert len(loaded.masked_kernels()) == 1
    assert set(coverage(loaded.backbone).skipped) == set(skip)
