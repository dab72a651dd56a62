"""Reading a kernel through a view, and which weights make one channel."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from packnet_tf.layers import Masked, MaskedConv2D, MaskedDense
from packnet_tf.layers.kernel import View, array_of, channel_axes
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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8"])
def test_an_array_of_a_variable_stays_as_it_is(dtype):
    variable = keras.Variable([[1, 2], [3, 4]], dtype=dtype)
    before = array_of(variable)
    assert before.dtype == np.asarray(variable).dtype
    change = tf.function(lambda: variable.assign_add(variable))
    for work in (change, lambda: variable.assign(variable * 0)):
        found = array_of(variable)
        kept = found.copy()
        work()
        assert found.tobytes() == kept.tobytes()
        assert found.tobytes() != np.asarray(variable).tobytes()
    assert before.tolist() == [[1, 2], [3, 4]]


def test_an_array_of_a_large_kernel_takes_no_memory():
    layer = dense()
    [kernel] = layer.masked_kernels()
    assert np.shares_memory(kernel.value, kernel.value)
    with pytest.raises(ValueError, match="read-only"):
        kernel.value[0] = 1


def test_an_optimizer_leaves_the_array_of_a_variable_alone():
    layer = dense()
    [kernel] = layer.masked_kernels()
    before = kernel.value
    kept = before.copy()
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    step = tf.function(
        lambda: optimizer.apply([tf.ones((3, 4))], [kernel.variable])
    )
    for _ in range(2):
        step()
    assert before.tobytes() == kept.tobytes() != kernel.value.tobytes()


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
