"""Which weights of a kernel make one output channel, found by trying."""

import itertools

import keras
import numpy as np
import pytest

from packnet_tf.layers import Masked, MaskedDense
from packnet_tf.layers.kernel import channel_axes

L = keras.layers

# The layer, one input without the batch, and the number of its channels.
LAYERS = {
    "dense": (lambda: L.Dense(5), (4,), 5),
    "dense_sequence": (lambda: L.Dense(5), (3, 4), 5),
    "conv1d": (lambda: L.Conv1D(5, 3), (6, 2), 5),
    "conv2d": (lambda: L.Conv2D(5, 3), (4, 4, 2), 5),
    "conv2d_groups": (lambda: L.Conv2D(6, 3, groups=2), (4, 4, 4), 6),
    "conv3d": (lambda: L.Conv3D(5, 2), (3, 3, 3, 2), 5),
    "conv1d_transpose": (lambda: L.Conv1DTranspose(5, 3), (4, 2), 5),
    "conv2d_transpose": (lambda: L.Conv2DTranspose(5, 3), (4, 4, 2), 5),
    "conv3d_transpose": (lambda: L.Conv3DTranspose(5, 2), (2, 2, 2, 3), 5),
    "depthwise1d": (
        lambda: L.DepthwiseConv1D(3, depth_multiplier=2),
        (5, 3),
        6,
    ),
    "depthwise2d": (
        lambda: L.DepthwiseConv2D(3, depth_multiplier=2),
        (4, 4, 3),
        6,
    ),
    "einsum": (lambda: L.EinsumDense("abc,cd->abd", (3, 5)), (3, 4), 5),
    "einsum_dots": (lambda: L.EinsumDense("...x,xy->...y", 5), (3, 4), 5),
    "einsum_dots_right": (
        lambda: L.EinsumDense("abc...,bd->adc...", (5, 4, 3)),
        (2, 4, 3),
        5,
    ),
    "einsum_heads": (
        lambda: L.EinsumDense("abc,cde->abde", (3, 2, 5)),
        (3, 4),
        10,
    ),
    "einsum_heads_out": (
        lambda: L.EinsumDense("abde,dec->abc", (3, 5)),
        (3, 2, 4),
        5,
    ),
    "einsum_places": (
        lambda: L.EinsumDense("abc,bcd->abd", (3, 5)),
        (3, 4),
        15,
    ),
    "separable_depthwise": (
        lambda: L.SeparableConv2D(6, 3, depth_multiplier=2),
        (4, 4, 3),
        6,
    ),
    "separable_pointwise": (
        lambda: L.SeparableConv2D(5, 3, depth_multiplier=2),
        (4, 4, 3),
        5,
    ),
    "embedding": (lambda: L.Embedding(4, 5), (3,), 5),
}


def kernel_of(name, layer):
    if isinstance(layer, L.Embedding):
        return "embeddings"
    if name.startswith("separable"):
        return f"{name.split('_')[1]}_kernel"
    return "kernel"


@pytest.mark.parametrize("name", LAYERS)
def test_each_channel_of_a_kernel_is_one_of_the_outputs(name):
    make, shape, count = LAYERS[name]
    layer = make()
    inputs = np.ones((1, *shape), "float32")
    layer(inputs)
    if name == "separable_depthwise":
        # Lets each of the first part's outputs through.
        layer.pointwise_kernel.assign(np.eye(6)[None, None])
    attribute = kernel_of(name, layer)
    kernel = getattr(layer, attribute)
    shape = tuple(kernel.shape)
    axes = channel_axes(layer, attribute)
    assert list(axes) == sorted(axes) and all(axis < 0 for axis in axes)
    reached = []
    for places in itertools.product(*(range(shape[axis]) for axis in axes)):
        index = [slice(None)] * len(shape)
        for axis, place in zip(axes, places, strict=True):
            index[axis] = place
        values = np.zeros(shape, "float32")
        values[tuple(index)] = 1
        kernel.assign(values)
        reached.append(np.asarray(layer(inputs)) != 0)
    # No two of them reach the same output, and together they reach all.
    assert len(reached) == count
    assert np.array_equal(np.sum(reached, axis=0), np.ones_like(reached[0]))


def test_a_layer_of_ones_own_says_where_its_channels_are():
    class Turned(Masked, keras.layers.Layer):
        kernel_names = ("w",)

        def kernel_channel_axes(self, name):
            return (-2,)

        def build(self, input_shape):
            self.w = self.add_weight(shape=(8, input_shape[-1]))

        def call(self, inputs):
            return inputs @ keras.ops.transpose(self.w)

    layer = Turned()
    layer(np.ones((1, 4), "float32"))
    assert layer.masked_kernels()[0].channel_axes == (-2,)
    layer = MaskedDense(3)
    layer(np.ones((1, 4), "float32"))
    assert layer.masked_kernels()[0].channel_axes == (-1,)
