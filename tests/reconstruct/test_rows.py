"""A layer's rows times its kernel's matrices are what the layer computes."""

import keras
import numpy as np
import pytest

from packnet_tf.layers import TWINS, MaskedConv2D
from packnet_tf.reconstruct.rows import form_of

layers = keras.layers
LINE, IMAGE, BLOCK = (9, 4), (9, 8, 4), (6, 5, 6, 4)
CASES = {
    "dense": (layers.Dense, (4,), {"units": 5}),
    "dense_of_rank_3": (layers.Dense, LINE, {"units": 5}),
    "einsum_heads": (
        layers.EinsumDense,
        LINE,
        {"equation": "abc,cde->abde", "output_shape": (9, 2, 3)},
    ),
    "einsum_joins_heads": (
        layers.EinsumDense,
        (7, 2, 3),
        {"equation": "abcd,cde->abe", "output_shape": (7, 4)},
    ),
    "einsum_of_groups": (
        layers.EinsumDense,
        LINE,
        {"equation": "abc,bcd->abd", "output_shape": (9, 3)},
    ),
    "einsum_sums_the_input": (
        layers.EinsumDense,
        LINE,
        {"equation": "abc,cd->ad", "output_shape": (3,)},
    ),
    "einsum_dots": (
        layers.EinsumDense,
        IMAGE,
        {"equation": "...x,xy->...y", "output_shape": 5},
    ),
    "conv_1d_causal": (
        layers.Conv1D,
        LINE,
        {"kernel_size": 3, "padding": "causal", "dilation_rate": 2},
    ),
    "conv_same": (
        layers.Conv2D,
        IMAGE,
        {"kernel_size": (3, 2), "padding": "same", "strides": 2},
    ),
    "conv_same_stride": (
        layers.Conv2D,
        IMAGE,
        {"kernel_size": 3, "padding": "same", "strides": (3, 2)},
    ),
    "conv_valid": (layers.Conv2D, IMAGE, {"kernel_size": 3, "strides": 2}),
    "conv_point": (layers.Conv2D, IMAGE, {"kernel_size": 1, "strides": 2}),
    "conv_dilated": (
        layers.Conv2D,
        IMAGE,
        {"kernel_size": 3, "dilation_rate": (2, 1), "padding": "same"},
    ),
    "conv_groups": (
        layers.Conv2D,
        IMAGE,
        {"kernel_size": 3, "groups": 2, "padding": "same"},
    ),
    "conv_3d": (layers.Conv3D, BLOCK, {"kernel_size": (2, 3, 1)}),
    "transpose_1d": (
        layers.Conv1DTranspose,
        LINE,
        {"kernel_size": 3, "strides": 2, "padding": "same"},
    ),
    "transpose_2d": (
        layers.Conv2DTranspose,
        IMAGE,
        {"kernel_size": 3, "strides": 2, "output_padding": 1},
    ),
    "transpose_3d": (layers.Conv3DTranspose, BLOCK, {"kernel_size": 2}),
    "depthwise_1d": (
        layers.DepthwiseConv1D,
        LINE,
        {"kernel_size": 3, "padding": "same", "depth_multiplier": 2},
    ),
    "depthwise_2d": (
        layers.DepthwiseConv2D,
        IMAGE,
        {"kernel_size": 3, "strides": 2, "depth_multiplier": 2},
    ),
    "separable_1d": (layers.SeparableConv1D, LINE, {"kernel_size": 3}),
    "separable_2d": (
        layers.SeparableConv2D,
        IMAGE,
        {"kernel_size": 3, "strides": 2, "depth_multiplier": 2},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_rows_times_matrices_are_the_outputs(case):
    stock, shape, config = case
    config = {"use_bias": False, **config}
    if issubclass(stock, layers.EinsumDense):
        del config["use_bias"]
    elif stock not in (
        layers.Dense,
        layers.DepthwiseConv1D,
        layers.DepthwiseConv2D,
    ):
        config["filters"] = 6
    layer = TWINS[stock](**config)
    random = np.random.default_rng(0)
    x = random.normal(size=(3, *shape)).astype("float32")
    wanted = np.asarray(layer(x))
    kernel = layer.masked_kernels()[-1]
    value = np.asarray(kernel.variable)
    form = form_of(layer, kernel.name, value.shape)
    matrices = form.matrices(value)
    assert matrices.shape[:2] == (form.groups, form.inputs)
    assert form.kernel(matrices, value.shape).tobytes() == value.tobytes()
    every = np.arange(form.count(x.shape))
    rows = form.take(keras.ops.convert_to_tensor(x), every).numpy()
    products = np.moveaxis(rows @ matrices, 0, 1)  # [rows, groups, outputs]
    if case[2].get("equation") == "abc,bcd->abd":
        wanted = wanted.reshape(3, *products.shape[1:])
    np.testing.assert_allclose(
        products.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-5
    )
    some = every[::-2]
    part = form.take(keras.ops.convert_to_tensor(x), some).numpy()
    assert part.tobytes() == np.ascontiguousarray(rows[:, some]).tobytes()


def test_the_depthwise_part_of_a_separable_convolution():
    layer = TWINS[layers.SeparableConv2D](
        6, 3, depth_multiplier=2, use_bias=False
    )
    x = np.random.default_rng(0).normal(size=(2, *IMAGE)).astype("float32")
    layer(x)
    kernel = layer.masked_kernels()[0]
    value = np.asarray(kernel.variable)
    form = form_of(layer, kernel.name, value.shape)
    rows = form.take(x, np.arange(form.count(x.shape))).numpy()
    products = np.moveaxis(rows @ form.matrices(value), 0, 1)
    wanted = np.asarray(keras.ops.depthwise_conv(x, value))
    np.testing.assert_allclose(
        products.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-5
    )


def test_a_layer_with_a_call_of_its_own_has_no_form():
    class Scaled(MaskedConv2D):
        def call(self, inputs):
            return super().call(2 * inputs)

    assert form_of(Scaled(4, 3), "kernel", (3, 3, 2, 4)) is None
