"""What is not exported, and what the error says."""

import os

import keras
import numpy as np
import pytest
from support import tiny_nets

from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.errors import (
    NetworkError,
    PhaseError,
    PromiseError,
    StateError,
    TaskError,
)
from packnet_tf.model.packnet import PackNet
from packnet_tf.serving.saved_model import export_saved_model


@pytest.fixture(scope="module")
def net():
    return tiny_nets.packed_net(("a", "b"))


def test_another_image_size_than_the_backbones_is_refused(net, tmp_path):
    export_saved_model(net, tmp_path / "3", image_size=tiny_nets.SIZE)
    with pytest.raises(NetworkError, match="image_size=64.*12 x 12"):
        export_saved_model(net, tmp_path / "4", image_size=64)


def test_preprocessing_of_an_unknown_task_is_refused(net, tmp_path):
    how = {"a": None, "wohle": Preprocessing()}
    with pytest.raises(TaskError, match="'wohle'; the tasks are: a, b"):
        export_saved_model(net, tmp_path / "3", preprocessing=how)
    assert os.listdir(tmp_path) == []


def test_an_unknown_layout_is_refused(net, tmp_path):
    with pytest.raises(NetworkError, match="'dense': expected.*folded"):
        export_saved_model(net, tmp_path / "3", layout="dense")


def test_only_packed_networks_are_exported(tmp_path):
    net = tiny_nets.packed_net(())
    with pytest.raises(PhaseError, match="no task"):
        export_saved_model(net, tmp_path / "1")
    net.add_task("a", 3)
    with pytest.raises(PhaseError, match="'a' is in its train phase"):
        export_saved_model(net, tmp_path / "1")


def test_a_changed_network_is_refused(tmp_path):
    net = tiny_nets.packed_net(("a", "b"))
    kernel = net.masked_kernels()[0]
    value, mask = np.asarray(kernel.variable), np.asarray(kernel.mask)
    kernel.variable.assign(np.where(mask == 0, np.float32(1), value))
    with pytest.raises(PromiseError, match="free weights"):
        export_saved_model(net, tmp_path / "2")
    kernel.variable.assign(np.where(mask == 1, np.float32(1), value))
    with pytest.raises(PromiseError, match="a, b"):
        export_saved_model(net, tmp_path / "2")
    assert os.listdir(tmp_path) == []


def test_an_existing_folder_is_never_overwritten(net, tmp_path):
    with pytest.raises(StateError, match="exists already"):
        export_saved_model(net, tmp_path)


@keras.saving.register_keras_serializable("test_serving")
class _Noisy(keras.layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(0)

    def call(self, inputs):
        return inputs + keras.random.normal(
            keras.ops.shape(inputs), seed=self.seed_generator
        )


def test_state_that_cannot_be_exported_is_named(tmp_path):
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Dense(4)(_Noisy()(keras.layers.Flatten()(inputs)))
    net = PackNet(keras.Model(inputs, x))
    tiny_nets.add_packed(net, "a")
    with pytest.raises(NetworkError, match="'a' uses state"):
        export_saved_model(net, tmp_path / "1")
    assert os.listdir(tmp_path) == []
