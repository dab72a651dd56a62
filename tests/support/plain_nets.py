"""Plain models to mask, and the check that their outputs keep their bytes."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from packnet_tf.convert.mask_model import mask_model
from packnet_tf.layers import TWINS
from packnet_tf.tf_internals.layers import is_graph


def images(count=2, size=8, seed=0):
    random = np.random.default_rng(seed)
    return random.uniform(0, 255, (count, size, size, 3)).astype(np.float32)


def same(left, right):
    left, right = np.asarray(left), np.asarray(right)
    return left.dtype == right.dtype and left.tobytes() == right.tobytes()


def fill(model, seed=1):
    """Gives every float weight its own value, statistics included."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.dtype in ("float32", "bfloat16", "float16"):
            value = random.uniform(0.1, 0.9, tuple(variable.shape)) - 0.3
            if variable.name.endswith("variance"):
                value = np.abs(value) + 0.1
            variable.assign(value)
    return model


def names_of(model):
    return [
        (layer.name, names_of(layer) if is_graph(layer) else None)
        for layer in model.layers
    ]


def check(model, x, **kwargs):
    """Masks a model; the outputs keep their bytes, the layers their names."""
    twin = mask_model(model, **kwargs)
    for training in (False, True):
        before = tf.nest.flatten(model(x))
        assert all(map(same, before, tf.nest.flatten(twin(x)))), training
    assert names_of(twin) == names_of(model)
    assert not any(
        type(layer) in TWINS for layer in twin._flatten_layers()
    ) or kwargs.get("skip")
    return twin


def sequential():
    return fill(
        keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                layers.Rescaling(1 / 127.5, -1),
                layers.Conv2D(4, 3, name="conv"),
                layers.BatchNormalization(),
                layers.ReLU(),
                layers.DepthwiseConv2D(3, name="depthwise"),
                layers.Flatten(),
                layers.Dropout(0.5, seed=3),
                layers.Dense(5, activation="tanh", name="fc"),
            ],
            name="small",
        )
    )


def functional():
    inputs = keras.Input((8, 8, 3), name="pixels")
    x = inputs / 255.0 - np.float32([0.1, 0.2, 0.3])
    a = layers.Conv2D(4, 3, padding="same", name="a")(x)
    b = layers.Conv2D(4, 1, name="b")(x)
    x = layers.Add()([a, keras.ops.relu(b)])
    x = x[:, 1:, 1:, :]
    x = layers.GlobalAveragePooling2D()(x)
    return fill(keras.Model(inputs, layers.Dense(3)(x), name="graph"))


class Subclassed(keras.Model):
    def __init__(self, dense=layers.Dense, **kwargs):
        super().__init__(**kwargs)
        self.fc = dense(3, name="fc")

    def call(self, inputs):
        return self.fc(inputs)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 3)
