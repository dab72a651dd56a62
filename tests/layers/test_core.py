"""Dense, EinsumDense and Embedding layers under masks."""

import keras
import numpy as np
import pytest

from packnet_tf.errors import ConversionError
from packnet_tf.layers import MaskedDense, MaskedEinsumDense, MaskedEmbedding


def test_dense_takes_the_stock_arguments():
    layer = MaskedDense(
        4,
        "relu",
        False,
        kernel_regularizer=keras.regularizers.L2(0.1),
        kernel_constraint="non_neg",
        name="fc",
    )
    layer.build((None, 3))
    assert layer.mask is layer.kernel_mask
    assert layer.bias is None
    assert layer.prunable is True
    # The regularizer sees the whole kernel, whatever is in view.
    before = np.asarray(layer.losses[0])
    layer.view_task = 1
    assert np.asarray(layer.losses[0]).tobytes() == before.tobytes()
    config = layer.get_config()
    assert keras.layers.Dense.from_config(config).get_config() == config


def test_einsum_dense_bias_of_rank_two_is_no_kernel():
    layer = MaskedEinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de")
    layer(keras.ops.ones((1, 5, 4)))
    assert [k.name for k in layer.masked_kernels()] == ["kernel"]
    assert tuple(layer.mask.shape) == (4, 2, 3)
    layer.view_task = 1  # Everything is free: the bias is the output.
    layer.bias.assign(np.ones((2, 3)))
    outputs = np.asarray(layer(keras.ops.ones((1, 5, 4))))
    assert outputs.tobytes() == np.ones((1, 5, 2, 3), np.float32).tobytes()


@pytest.mark.parametrize("listed", [False, True])
def test_embedding_takes_weights_to_begin_with(listed):
    vectors = np.arange(6, dtype=np.float32).reshape(3, 2)
    layer = MaskedEmbedding(
        3, 2, weights=[vectors] if listed else vectors, prunable=False
    )
    assert np.asarray(layer.embeddings).tobytes() == vectors.tobytes()
    assert layer.mask.shape == (3, 2)
    assert not layer.masked_kernels()[0].prunable
    ids = np.int32([[2, 0]])
    stock = keras.layers.Embedding(3, 2, weights=[vectors])
    assert np.asarray(layer(ids)).tobytes() == np.asarray(stock(ids)).tobytes()
    copy = MaskedEmbedding.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()


def test_embedding_takes_the_stock_arguments_in_their_order():
    names = ("uniform", "l2", "max_norm", True)
    stock = keras.layers.Embedding(5, 2, *names, name="words")
    layer = MaskedEmbedding(5, 2, *names, name="words")
    assert layer.get_config() == stock.get_config()


def test_embedding_lora_is_refused():
    with pytest.raises(ConversionError, match="enable_lora"):
        MaskedEmbedding(5, 2, lora_rank=2)
