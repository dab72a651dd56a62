"""Normalizations answer with the mean and variance that they had."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from packnet_tf.reconstruct import Normalization, may_fit

layers = keras.layers
RNG = np.random.default_rng(4)
UNPRUNED = RNG.normal(1, 3, (90, 5, 4)).astype("float32")
PRUNED = (0.6 * UNPRUNED + RNG.normal(0.3, 1, (90, 5, 4))).astype("float32")


def normalization(axis=-1, **how):
    layer = layers.BatchNormalization(axis=axis, **how)
    layer.build(UNPRUNED.shape)
    channels = UNPRUNED.shape[axis]
    layer.set_weights(
        [RNG.uniform(0.5, 2, channels) for _ in layer.get_weights()]
    )
    return layer


def spread(layer, x):
    y = np.asarray(layer(x, training=False), np.float64)
    axes = tuple(a for a in range(3) if a != layer.axis % 3)
    return y.mean(axes), y.std(axes)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("size", [7, 90])
def test_outputs_are_spread_as_before(axis, size):
    layer = normalization(axis)
    wanted = spread(layer, UNPRUNED)
    norm = Normalization(layer)
    before = [v.numpy().tobytes() for v in layer.weights]
    assert norm.fit(tf.constant(UNPRUNED), tf.constant(PRUNED), size)
    assert [v.numpy().tobytes() for v in layer.weights] == before
    assert not np.allclose(spread(layer, PRUNED), wanted, rtol=0.1)
    for variable, value in norm.values:
        variable.assign(value)
    np.testing.assert_allclose(spread(layer, PRUNED), wanted, rtol=1e-3)


def test_the_same_inputs_change_nothing():
    layer = normalization()
    norm = Normalization(layer)
    norm.fit(tf.constant(UNPRUNED), tf.constant(UNPRUNED), 16)
    for variable, value in norm.values:
        np.testing.assert_allclose(variable, value, rtol=1e-6)


@pytest.mark.parametrize("still", ["unpruned", "pruned", "both"])
def test_a_channel_without_variance_is_scaled_within_limits(still):
    layer = normalization()
    given = {"unpruned": UNPRUNED.copy(), "pruned": PRUNED.copy()}
    for name, x in given.items():
        if still in (name, "both"):
            x[..., 2] = 3.0
    norm = Normalization(layer)
    assert norm.fit(*map(tf.constant, given.values()), 16)
    ratio = norm.variance / np.asarray(layer.moving_variance)
    assert np.all((ratio > 0.005) & (ratio < 101))


def test_values_that_are_not_finite_are_told():
    x = PRUNED.copy()
    x[0, 0, 0] = np.inf
    norm = Normalization(normalization())
    assert not norm.fit(tf.constant(UNPRUNED), tf.constant(x), 16)


class Own(layers.BatchNormalization):
    """A normalization with a `call` of its own."""

    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs, training=training, mask=mask)


def test_which_layers_may_change():
    frozen = normalization()
    frozen.trainable = False
    assert may_fit(normalization())
    for layer in (
        frozen,
        layers.BatchNormalization(renorm=True),
        Own(),
        layers.LayerNormalization(),
    ):
        assert not may_fit(layer)
