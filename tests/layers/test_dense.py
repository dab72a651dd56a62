import keras
import numpy as np

from packnet_tf.layers import MaskedDense


def test_takes_the_stock_arguments():
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
