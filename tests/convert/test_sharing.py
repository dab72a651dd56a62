"""Layers that models inside a model share, and their files."""

import keras
import numpy as np
from keras import layers
from support import two_tasks

import packnet_tf as pn

X = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")


def shared():
    """One layer in two models and beside them, one model in two others."""
    keras.utils.set_random_seed(0)
    both = layers.Dense(5, name="both")
    small = keras.Sequential([keras.Input((5,)), layers.Dense(5)], name="small")
    left = keras.Sequential([keras.Input((5,)), both, small], name="left")
    inputs = keras.Input((5,))
    y = layers.BatchNormalization()(both(both(inputs)))
    right = keras.Model(inputs, layers.Add()([small(y), both(y)]), name="right")
    inputs = keras.Input((5,))
    x = layers.Concatenate()([left(inputs), right(both(inputs)), right(inputs)])
    return keras.Model(inputs, layers.Dense(4)(x))


def test_a_layer_of_several_models_is_one_in_files_too(tmp_path):
    net = pn.PackNet(shared())
    assert len(net.masked_kernels()) == 3
    packed = {}
    for name in ("one", "two"):
        two_tasks.pack(net, name, X, np.arange(4) % 3, retrain=False)
        packed[name] = two_tasks.scores(net, name, X)
    assert two_tasks.scores(net, "one", X) == packed["one"]
    for _ in range(2):  # What was read is written again.
        net = two_tasks.check_files(net, packed, X, tmp_path)
        assert len(net.masked_kernels()) == 3
        assert [w.path for w in net.backbone.weights].count("both/kernel") <= 1
    again = pn.PackNet.from_config(net.get_config())
    assert len(again.weights) == len(net.weights)
