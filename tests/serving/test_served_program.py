"""The SavedModel's program is that of a function with an open batch size.

TensorFlow reorders sums by what it knows of the shapes, so that a function
for one batch size may round otherwise, and eager execution too.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import tiny_nets
from support.residual_net import SIZE, residual

from packnet_tf.model.packnet import PackNet
from packnet_tf.serving.saved_model import export_saved_model


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    keras.utils.set_random_seed(0)
    net = PackNet(residual())
    for name in ("a", "b"):
        tiny_nets.add_packed(net, name)
    path = export_saved_model(net, tmp_path_factory.mktemp("served") / "2")
    return net, tf.saved_model.load(path)


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize("task", ["a", "b"])
def test_the_same_bytes_as_with_an_open_batch_size(served, task, batch):
    net, model = served
    net.activate(task)
    program = tf.function(
        lambda x: net.logits(x, training=False),
        input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3])],
        autograph=False,
    )
    images = tf.constant(tiny_nets.images(batch, SIZE))
    expected = program(images).numpy()
    found = model.signatures[task](images=images)["logits"].numpy()
    assert found.tobytes() == expected.tobytes()
    # Another program may differ, by roundings alone.
    eager = np.asarray(net.logits(images, training=False))
    np.testing.assert_allclose(eager, expected, rtol=1e-4, atol=1e-4)
