"""Reading a kernel through a view."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from packnet_tf.layers import MaskedConv2D, MaskedDense
from packnet_tf.layers.kernel import View
from packnet_tf.model.replicas import make_strategy


def dense(units=4, width=3, **kwargs):
    layer = MaskedDense(units, **kwargs)
    layer.build((None, width))
    return layer


def test_special_values_pass_or_vanish_whole():
    layer = dense()
    value = np.zeros((3, 4), np.float32)
    value[0] = [np.inf, np.nan, -0.0, 1e-45]
    value[1] = [np.inf, np.nan, -np.inf, 1]
    layer._kernel.assign(value)
    mask = np.zeros((3, 4), np.uint8)
    mask[0] = 1
    mask[1] = 2
    layer.mask.assign(mask)
    layer.view_task = 1
    view = np.asarray(layer.kernel)
    assert view[0].tobytes() == value[0].tobytes()
    assert view[1:].tobytes() == bytes(view[1:].nbytes)


def test_highest_owner():
    layer = dense()
    layer.mask.assign(np.full((3, 4), 255))
    layer.view_task = 254
    assert not np.asarray(layer.kernel).any()
    layer.view_task = 255
    assert np.array_equal(layer.kernel, layer._kernel)


@pytest.mark.parametrize(
    "policy", ["mixed_bfloat16", "mixed_float16", "bfloat16", "float64"]
)
def test_other_precisions_have_the_stock_bytes(policy):
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype(np.float32)
    plain = keras.layers.Conv2D(4, 3, dtype=policy)
    masked = MaskedConv2D(4, 3, dtype=policy)
    plain(x), masked(x)
    masked._kernel.assign(plain._kernel)
    masked.mask.assign(np.ones(masked.mask.shape))
    expected = np.asarray(plain(x))
    for view_task in (None, 1):
        masked.view_task = view_task
        outputs = masked(x)
        assert outputs.dtype == plain(x).dtype
        assert np.asarray(outputs).tobytes() == expected.tobytes()
    assert masked.mask.dtype == "uint8"


def test_is_read_when_the_layer_is_traced():
    layer = dense()
    layer.mask.assign(np.arange(12).reshape(3, 4) % 3)
    x = tf.ones((2, 3))
    outputs = {}
    for view_task in (None, 1, 2):
        layer.view_task = view_task
        outputs[view_task] = tf.function(lambda x: layer(x))(x)
        assert np.array_equal(outputs[view_task], layer(x))
    assert not np.array_equal(outputs[1], outputs[2])


def test_follows_a_stateless_scope():
    layer = dense()
    folded = tf.ones((3, 4))
    with keras.StatelessScope(state_mapping=[(layer._kernel, folded)]):
        outputs = layer(tf.ones((1, 3)))
    assert np.array_equal(outputs, np.full((1, 4), 3, np.float32))


def test_on_two_replicas():
    strategy = make_strategy(2)
    with strategy.scope():
        layer = dense()
    layer.mask.assign(np.arange(12).reshape(3, 4) % 3)
    x = tf.ones((2, 3))
    for view_task in (None, 1, 2):
        layer.view_task = view_task
        expected = np.asarray(layer(x))

        @tf.function
        def run(layer=layer):
            return strategy.run(lambda: layer(x))

        for outputs in strategy.experimental_local_results(run()):
            assert np.asarray(outputs).tobytes() == expected.tobytes()


def test_stands_on_the_class():
    assert isinstance(MaskedDense.kernel, View)
    layer = dense()
    del layer.kernel
    assert not hasattr(layer, "kernel")
