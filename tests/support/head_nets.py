"""A backbone, heads of a user's own, and labels of every kind."""

import keras
import numpy as np
from keras import layers

RNG = np.random.default_rng(5)
ROWS = 16
X = RNG.normal(size=(ROWS, 6)).astype("float32")
ONE_OF_3 = RNG.integers(0, 3, ROWS)
SEVERAL = RNG.integers(0, 2, (ROWS, 4)).astype("float32")
NUMBERS = RNG.normal(size=(ROWS, 2)).astype("float32")


def backbone():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(16, activation="relu"),
            layers.BatchNormalization(),
            layers.Dense(8, activation="relu", name="last"),
        ]
    )


@keras.saving.register_keras_serializable("test_heads")
class Bilinear(keras.layers.Layer):
    """A head of the user's own, with its weights and an inner layer."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.inner = layers.Dense(units)

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(self.units,), initializer="ones")
        self.inner.build(input_shape)

    def call(self, inputs):
        return self.inner(inputs) * self.scale

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def small_model():
    return keras.Sequential(
        [
            layers.Dense(5, activation="relu", name="last"),
            layers.BatchNormalization(),
            layers.Dropout(0.2),
            layers.Dense(3),
        ]
    )
