"""Graphs of training steps go with their models."""

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf

from packnet_tf.tf_internals.gradients import new_gradients_forgotten


def train():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(np.ones((4, 2)), np.ones(4), verbose=0)


def graphs():
    gc.collect()
    return sum(type(o).__name__ == "FuncGraph" for o in gc.get_objects())


def test_a_trained_step_is_freed_with_its_model():
    with new_gradients_forgotten():
        train()
    before = graphs()
    with new_gradients_forgotten():
        train()
    assert graphs() == before
    # Without it, TensorFlow keeps them.
    train()
    assert graphs() > before


def test_gradients_of_before_stay():
    @tf.custom_gradient
    def double(x):
        return 2 * x, lambda upstream: 3 * upstream

    program = tf.function(double).get_concrete_function(tf.constant(1.0))
    with pytest.raises(ZeroDivisionError), new_gradients_forgotten():
        train()
        raise ZeroDivisionError
    x = tf.constant(1.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = program(x)
    assert float(tape.gradient(y, x)) == 3.0
