"""Layers whose `get_config` is wrong: made again from their attributes."""

import keras
import numpy as np
import pytest

import packnet_tf as pn
from packnet_tf.convert.coverage import coverage
from packnet_tf.convert.mask_model import mask_model
from packnet_tf.layers.config import config_of, makes_itself
from packnet_tf.model.extract import extract

layers = keras.layers
X = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")


@keras.saving.register_keras_serializable("test_config")
class TooMuch(layers.Layer):
    """Its config has what `__init__` does not take, and lacks what it does."""

    def __init__(self, width, use_bias=True, **kwargs):
        super().__init__(**kwargs)
        self.width, self.use_bias = width, use_bias

    def build(self, input_shape):
        self.token = self.add_weight(shape=(1, self.width))
        self.dense = layers.Dense(self.width, use_bias=self.use_bias)
        self.dense.build(input_shape)

    def call(self, x):
        return self.dense(x) + self.token

    def get_config(self):
        return {**super().get_config(), "width": self.width, "places": 7}


@keras.saving.register_keras_serializable("test_config")
class Failing(TooMuch):
    def get_config(self):
        return {**super().get_config(), "heads": self.heads}


@keras.saving.register_keras_serializable("test_config")
class WithoutLayers(layers.Layer):
    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        return x * self.factor

    def get_config(self):
        return {**super().get_config(), "factor": self.factor, "places": 7}


class Forgetful(TooMuch):
    def __init__(self, width, scale, **kwargs):
        super().__init__(width, **kwargs)
        self._scale = scale


def model_with(*given):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((6,)), *given, layers.Dense(5)])


@pytest.mark.parametrize("cls", [TooMuch, Failing])
def test_the_attributes_complete_the_config(cls):
    layer = cls(3, use_bias=False, name="mine", dtype="mixed_bfloat16")
    assert not makes_itself(layer)
    config = config_of(layer)
    again = cls.from_config(config)
    assert (again.name, again.width, again.use_bias) == ("mine", 3, False)
    assert again.dtype_policy == layer.dtype_policy
    dense = layers.Dense(3)
    assert makes_itself(dense) and config_of(dense) == dense.get_config()


@pytest.mark.parametrize("cls", [TooMuch, Failing])
def test_it_is_masked_saved_and_extracted(cls, tmp_path):
    model = model_with(cls(3, use_bias=False), WithoutLayers(2.0))
    net = pn.PackNet(model)
    assert len(net.masked_kernels()) == 2
    assert np.asarray(net.backbone(X)).tobytes() == (
        np.asarray(model(X)).tobytes()
    )
    for name in ("one", "two"):
        net.add_task(name, classes=2)
        net.compile("sgd", "sparse_categorical_crossentropy")
        net.fit(X, np.arange(4) % 2, verbose=0)
        net.prune(0.5)
        net.pack()
        if name == "one":
            packed = net.predict(X, verbose=0).tobytes()
    for number in range(2):  # What was read is written again.
        net.save(tmp_path / f"{number}.keras")
        net = keras.saving.load_model(tmp_path / f"{number}.keras")
        net.verify_digests()
        net.activate("one")
        assert net.predict(X, verbose=0).tobytes() == packed
    plain = extract(net, "one")
    found = {type(layer) for layer in plain._flatten_layers()}
    assert {cls, WithoutLayers, layers.Dense} <= found
    plain.save(tmp_path / "plain.keras")
    loaded = keras.saving.load_model(tmp_path / "plain.keras")
    assert loaded.predict(X, verbose=0).tobytes() == packed


def test_a_class_token_is_a_vector():
    found = coverage(mask_model(model_with(TooMuch(3))))
    assert not found.skipped and found.weights_masked == 6 * 3 + 3 * 5


def test_an_argument_that_is_nowhere_is_named():
    with pytest.raises(
        pn.ConversionError,
        match=r"'odd' \(Forgetful\) cannot be copied.*'scale' is neither",
    ) as raised:
        pn.PackNet(model_with(Forgetful(3, 2.0, name="odd")))
    assert "\n" not in str(raised.value)
