"""Convolutions under masks."""

import keras
import numpy as np
import pytest

from packnet_tf.layers import MaskedConv2D, MaskedDepthwiseConv2D


@pytest.mark.parametrize(
    "config",
    [
        {"strides": 2, "padding": "same"},
        {"dilation_rate": 2},
        {"groups": 2},
        {"use_bias": False, "activation": "relu"},
    ],
)
def test_options_have_the_stock_bytes_under_a_view(config):
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype(np.float32)
    plain = keras.layers.Conv2D(6, 3, **config)
    masked = MaskedConv2D(6, 3, **config)
    plain(x), masked(x)
    mask = np.arange(masked.mask.numpy().size).reshape(masked.mask.shape) % 4
    masked.mask.assign(mask)
    visible = (mask > 0) & (mask <= 2)
    plain._kernel.assign(np.where(visible, masked._kernel, 0))
    masked.view_task = 2
    assert np.asarray(masked(x)).tobytes() == np.asarray(plain(x)).tobytes()


def test_depthwise_is_not_pruned_unless_asked():
    layer = MaskedDepthwiseConv2D(3)
    layer.build((None, 8, 8, 4))
    assert layer.prunable is False
    assert "prunable" not in layer.get_config()
    asked = MaskedDepthwiseConv2D(3, prunable=True)
    asked.build((None, 8, 8, 4))
    assert asked.masked_kernels()[0].prunable
    assert asked.get_config()["prunable"] is True
