import keras
import numpy as np
import pytest

from packnet_tf.errors import ConversionError
from packnet_tf.layers import MaskedEmbedding


@pytest.mark.parametrize("listed", [False, True])
def test_takes_weights_to_begin_with(listed):
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


def test_takes_the_stock_arguments_in_their_order():
    names = ("uniform", "l2", "max_norm", True)
    stock = keras.layers.Embedding(5, 2, *names, name="words")
    layer = MaskedEmbedding(5, 2, *names, name="words")
    assert layer.get_config() == stock.get_config()


def test_lora_is_refused():
    with pytest.raises(ConversionError, match="enable_lora"):
        MaskedEmbedding(5, 2, lora_rank=2)
