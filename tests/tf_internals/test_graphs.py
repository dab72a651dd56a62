"""Graphs that drop tensors compute what Keras computes."""

import gc

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.tf_internals.layers import forgetful_graphs

layers = keras.layers


def model():
    """Several inputs and outputs, a shared layer, a model in a model."""
    first, second = (keras.Input((4,), name=n) for n in "ab")
    twice = layers.Dense(4, activation="relu", name="twice")
    inner = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3), layers.ReLU()], name="inner"
    )
    x = twice(first)
    y = layers.add([twice(x), second, x])
    return keras.Model(
        {"a": first, "b": second}, [inner(y), {"mid": x, "sum": y + x}]
    )


def test_the_outputs_are_the_same_bytes():
    net = model()
    random = np.random.default_rng(0)
    given = {k: random.normal(size=(5, 4)).astype("float32") for k in "ab"}
    wanted = net(given, training=False)
    with forgetful_graphs(net):
        found = net(given, training=False)
    keras.tree.assert_same_structure(found, wanted)
    for one, other in zip(
        keras.tree.flatten(found), keras.tree.flatten(wanted), strict=True
    ):
        assert one.numpy().tobytes() == other.numpy().tobytes()
    assert "_run_through_graph" not in vars(net)


def test_no_tensor_is_kept_after_its_last_use():
    alive = []
    # What other tests left behind would take minutes to look through.
    gc.freeze()

    class Counts(layers.Layer):
        def call(self, x):
            gc.collect()
            alive.append(
                sum(
                    isinstance(o, tf.Tensor) and o.shape == (64, 777)
                    for o in gc.get_objects()
                )
            )
            return x

    inputs = keras.Input((777,))
    x = inputs
    for _ in range(8):
        x = layers.ReLU()(x)
        x = Counts()(x)
    net = keras.Model(inputs, x)
    net(np.zeros((64, 777), "float32"), training=False)
    assert alive[-1] > 8
    alive.clear()
    with forgetful_graphs(net):
        net(np.zeros((64, 777), "float32"), training=False)
    gc.unfreeze()
    assert max(alive) <= 4
