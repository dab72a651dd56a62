import keras
import numpy as np

from packnet_tf.layers import MaskedEinsumDense


def test_bias_of_rank_two_is_no_kernel():
    layer = MaskedEinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de")
    layer(keras.ops.ones((1, 5, 4)))
    assert [k.name for k in layer.masked_kernels()] == ["kernel"]
    assert tuple(layer.mask.shape) == (4, 2, 3)
    layer.view_task = 1  # Everything is free: the bias is the output.
    layer.bias.assign(np.ones((2, 3)))
    outputs = np.asarray(layer(keras.ops.ones((1, 5, 4))))
    assert outputs.tobytes() == np.ones((1, 5, 2, 3), np.float32).tobytes()
