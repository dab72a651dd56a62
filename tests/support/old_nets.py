"""The networks of the files of release 0.1 that are kept among the fixtures."""

import keras
import numpy as np
from keras import layers

ROWS = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
SERIES = np.random.default_rng(1).normal(size=(4, 6, 3)).astype("float32")


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


@keras.saving.register_keras_serializable("old_nets")
class Block(layers.Layer):
    """A user's layer, made of layers of which some are private."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.norm = layers.LayerNormalization()
        self.depth = layers.DepthwiseConv1D(2, padding="same")
        self.mixed = [layers.SeparableConv1D(units, 2, padding="same")]
        self.model = keras.Sequential(
            [layers.Dense(units, name="masked"), layers.Dense(3, name="plain")]
        )

    def build(self, shape):
        self.attention = layers.MultiHeadAttention(2, 3, name="attention")
        self.attention.build(shape, shape)
        for layer in (self.norm, self.depth, *self.mixed):
            layer.build(shape)
        self.model.build((*shape[:-1], self.units))

    def call(self, x):
        x = self.norm(x + self.attention(x, x))
        return x + self.model(self.mixed[0](self.depth(x)))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def block():
    """`Block`, once inside a wrapper."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 3))
    x = Block(4)(inputs)
    x = layers.TimeDistributed(layers.Dense(3))(x)
    x = layers.LSTM(3)(x)
    return keras.Model(inputs, x)


# The network, what is skipped in it, a batch.
KEPT = {"shared": (shared, (), ROWS), "block": (block, "plain", SERIES)}
