"""One task as an ordinary Keras model."""

import keras
import numpy as np
import pytest
from keras import layers
from support.plain_nets import (
    Subclassed,
    fill,
    functional,
    images,
    same,
    sequential,
)

from packnet_tf.errors import ConversionError, TaskError
from packnet_tf.layers import Masked, MaskedDense
from packnet_tf.model.extract import extract
from packnet_tf.model.packnet import PackNet


def packed_net(backbone, x, **kwargs):
    """A network with two packed tasks and one in training."""
    net = PackNet(backbone, **kwargs)
    for name, classes in (("one", 3), ("two", 2)):
        net.add_task(name, classes)
        net.compile("adam", "sparse_categorical_crossentropy")
        labels = np.arange(len(x)) % classes
        net.fit(x, labels, epochs=1, verbose=0)
        net.prune(0.5)
        net.fit(x, labels, epochs=1, verbose=0)
        net.pack()
    net.add_task("three", 2)
    return net


@pytest.mark.parametrize("private", ["per_task", "frozen"])
@pytest.mark.parametrize("make", [sequential, functional])
def test_extract(make, private, tmp_path):
    x = images(4)
    net = packed_net(make(), x, private=private)
    for task in ("one", "two"):
        plain = extract(net, task)
        assert net.active_task.name == "three"
        assert not any(isinstance(p, Masked) for p in plain._flatten_layers())
        modules = {type(p).__module__ for p in plain._flatten_layers()}
        assert all(module.startswith("keras.") for module in modules)
        plain.save(tmp_path / "plain.keras")
        loaded = keras.saving.load_model(tmp_path / "plain.keras")
        net.activate(task)
        assert same(plain(x), net(x))
        assert same(loaded(x), net(x))
        net.activate("three")
    with pytest.raises(TaskError, match="Unknown task"):
        extract(net, "four")


def test_extract_flattens_the_features_as_the_network_does():
    inputs = keras.Input((8, 8, 3))
    backbone = fill(keras.Model(inputs, layers.Conv2D(2, 3)(inputs)))
    x = images(4)
    net = packed_net(backbone, x)
    plain = extract(net, "one")
    net.activate("one")
    assert same(plain(x), net(x))


def test_extract_of_a_subclassed_backbone_is_refused():
    backbone = Subclassed(MaskedDense)
    backbone(np.ones((1, 4), np.float32))
    net = PackNet(backbone)
    net.add_task("one", 2)
    with pytest.raises(ConversionError, match="export_saved_model"):
        extract(net, "one")
