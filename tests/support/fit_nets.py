"""Small networks of every topology, masked and pruned, to be fitted."""

import keras
import numpy as np

from packnet_tf.convert.mask_model import mask_model
from packnet_tf.layers import Masked
from packnet_tf.masks import ownership, pruning
from packnet_tf.reconstruct import Change, Normalization, may_fit
from packnet_tf.tf_internals.layers import layers_of

layers = keras.layers
IMAGE, LINE = (8, 8, 3), (6, 8)
RNG = np.random.default_rng(5)
IMAGES = RNG.uniform(0, 1, (96, *IMAGE)).astype("float32")
# Steps that depend on each other, as those of text or of patches do.
LINES = np.cumsum(RNG.normal(size=(96, *LINE)), -1).astype("float32")
IDS = RNG.integers(0, 9, (96, 6)).astype("int32")


class Block(layers.Layer):
    """A layer that is made of layers."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.wide = layers.Dense(4 * units, activation="gelu")
        self.narrow = layers.Dense(units)
        self.norm = layers.LayerNormalization()
        self.attention = layers.MultiHeadAttention(2, 4)

    def build(self, shape):
        for part in (self.norm, self.wide):
            part.build(shape)
        self.narrow.build((*shape[:-1], self.wide.units))
        self.attention.build(shape, shape)

    def call(self, x, training=None):
        y = self.norm(x)
        x = x + self.attention(y, y, training=training)
        return x + self.narrow(self.wide(x))


class Own(Masked, layers.Layer):
    """A masked layer with a `call` of its own."""

    kernel_names = ("w",)

    def build(self, shape):
        self.w = self.add_weight(name="w", shape=(shape[-1], 6))

    def call(self, x):
        return x @ self.w


def convolutions():
    inputs = keras.Input(IMAGE)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x))
    x = layers.add([x, y])
    x = layers.SeparableConv2D(12, 3, strides=2, activation="relu")(x)
    x = layers.Conv2DTranspose(6, 3, strides=2, activation="relu")(x)
    x = layers.Conv2D(8, 3, groups=2)(x)
    inner = keras.Sequential(
        [keras.Input((8,)), layers.Dense(16, activation="relu")]
    )
    return keras.Model(inputs, inner(layers.GlobalAveragePooling2D()(x)))


def transformer():
    inputs = keras.Input(LINE)
    x = Block(8)(inputs)
    x = layers.TimeDistributed(layers.Dense(12, activation="relu"))(x)
    x = layers.EinsumDense("abc,cd->abd", (6, 10))(x)
    return keras.Model(inputs, layers.Flatten()(x))


def shared():
    inputs = keras.Input((8, 8, 4))
    twice = layers.Conv2D(4, 3, padding="same", activation="relu")
    between = layers.Conv2D(4, 1, activation="relu")
    x = twice(between(twice(inputs)))
    return keras.Model(inputs, layers.Dense(5)(layers.Flatten()(x)))


def recurrent():
    inputs = keras.Input(LINE)
    x = layers.Dense(8, activation="relu")(inputs)
    x = layers.Bidirectional(layers.GRU(5, return_sequences=True))(x)
    return keras.Model(inputs, layers.Dense(4)(layers.LSTM(6)(x)))


def words():
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 8)(inputs)
    return keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))


NETS = {
    "convolutions": (convolutions, IMAGES, 6),
    "transformer": (transformer, LINES, 8),
    "shared": (shared, np.concatenate([IMAGES, IMAGES[..., :1]], -1), 3),
    "recurrent": (recurrent, LINES, 2),
    "words": (words, IDS, 2),
}


def masked(make):
    keras.utils.set_random_seed(3)
    model = mask_model(make(), (), "private")
    for kernel in kernels_of(model):
        value = np.asarray(kernel.mask)
        kernel.mask.assign(ownership.claim(value, 1))
    return model


def kernels_of(model):
    found = []
    for layer in layers_of(model):
        if isinstance(layer, Masked):
            found += [k for k in layer.masked_kernels() if k.prunable]
    return found


def changes_of(model, fraction=0.5):
    kernels = kernels_of(model)
    masks = pruning.prune_masks(
        [k.variable for k in kernels], [k.mask for k in kernels], 1, fraction
    )
    return [
        Change(k, np.asarray(k.variable), mask, 1)
        for k, mask in zip(kernels, masks, strict=True)
    ]


def error_after(model, changes, images, fitted):
    """Returns the mean squared error of the outputs against the unpruned."""
    wanted = np.asarray(model(images, training=False))
    for change in changes:
        change.kernel.variable.assign(change.fitted if fitted else change.start)
    error = np.square(np.asarray(model(images, training=False)) - wanted)
    for change in changes:
        change.kernel.variable.assign(change.before)
    return float(error.mean())


def norms_of(model):
    return [Normalization(n) for n in layers_of(model) if may_fit(n)]
