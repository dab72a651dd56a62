"""One layer of each family under masks, for the tests of the mixin."""

import keras
import numpy as np
import pytest

from packnet_tf.layers import (
    Masked,
    MaskedConv2D,
    MaskedConv2DTranspose,
    MaskedDense,
    MaskedDepthwiseConv2D,
    MaskedEinsumDense,
    MaskedEmbedding,
    MaskedSeparableConv2D,
)


@keras.saving.register_keras_serializable("packnet_tf_tests")
class Own(Masked, keras.layers.Layer):
    """A user's own layer: no super().build(), no get_config()."""

    kernel_names = ("w", "extra")

    def __init__(self, units, with_extra=False, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.with_extra = with_extra

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.scale = self.add_weight(shape=(self.units,), initializer="ones")
        self.w = self.add_weight(name="w", shape=shape)
        self.extra = None
        if self.with_extra:
            self.extra = self.add_weight(name="extra", shape=shape)

    def call(self, inputs):
        kernel = self.w if self.extra is None else self.w + self.extra
        return keras.ops.matmul(inputs, kernel) * self.scale


IMAGE, ROWS, IDS = (6, 6, 3), (5, 4), (7,)


FAMILIES = {
    "dense": (keras.layers.Dense, MaskedDense, (4,), {"units": 5}),
    "conv": (
        keras.layers.Conv2D,
        MaskedConv2D,
        IMAGE,
        {"filters": 6, "kernel_size": 3, "groups": 3, "use_bias": False},
    ),
    "depthwise": (
        keras.layers.DepthwiseConv2D,
        MaskedDepthwiseConv2D,
        IMAGE,
        {"kernel_size": 3, "depth_multiplier": 2},
    ),
    "einsum": (
        keras.layers.EinsumDense,
        MaskedEinsumDense,
        ROWS,
        {
            "equation": "abc,cde->abde",
            "output_shape": (None, 2, 3),
            "bias_axes": "de",
        },
    ),
    "separable": (
        keras.layers.SeparableConv2D,
        MaskedSeparableConv2D,
        IMAGE,
        {"filters": 4, "kernel_size": 3},
    ),
    "transpose": (
        keras.layers.Conv2DTranspose,
        MaskedConv2DTranspose,
        IMAGE,
        {"filters": 4, "kernel_size": 3},
    ),
    "embedding": (
        keras.layers.Embedding,
        MaskedEmbedding,
        IDS,
        {"input_dim": 11, "output_dim": 3},
    ),
}


family = pytest.mark.parametrize("case", FAMILIES.values(), ids=FAMILIES)


def inputs_of(shape, seed=0):
    random = np.random.default_rng(seed)
    if shape == IDS:
        return random.integers(0, 11, (2, *shape)).astype(np.int32)
    return random.normal(size=(2, *shape)).astype(np.float32)


def built(case, **kwargs):
    """A masked layer with weights and masks of tasks 0 to 3 in it."""
    _, twin, shape, config = case
    layer = twin(**config, **kwargs)
    layer(inputs_of(shape))
    fill(layer)
    return layer


def fill(layer, seed=1):
    random = np.random.default_rng(seed)
    for kernel in layer.masked_kernels():
        shape = tuple(kernel.variable.shape)
        kernel.variable.assign(random.normal(size=shape))
        kernel.mask.assign(random.integers(0, 4, shape))


def model_of(case):
    _, twin, shape, config = case
    dtype = "int32" if shape == IDS else None
    inputs = keras.Input(shape, dtype=dtype)
    layer = twin(**config, name="masked")
    model = keras.Model(inputs, layer(inputs))
    fill(layer)
    return model


def same(left, right):
    left, right = np.asarray(left), np.asarray(right)
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.tobytes() == right.tobytes()
    )


def state(layer):
    return [np.asarray(v) for v in layer.variables]


def all_same(left, right):
    return len(left) == len(right) and all(map(same, left, right))
