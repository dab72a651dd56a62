"""Copies of a network and other forms of its files: whole, or refused."""

import copy
import json
import os
import pathlib
import pickle
import warnings

import keras
import numpy as np
import pytest
from support import two_tasks

import packnet_tf as pn
from packnet_tf.errors import (
    ConversionError,
    NetworkError,
    PhaseError,
    PromiseError,
    StateError,
)

X = np.random.default_rng(3).normal(size=(32, 6)).astype("float32")


def network():
    layers = keras.layers
    inputs = keras.Input((6,))
    x = layers.Dense(12, use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    net = pn.PackNet(keras.Model(inputs, x))
    for number, name in enumerate(("one", "two")):
        two_tasks.pack(net, name, X, two_tasks.labels(32, seed=number))
    return net


@pytest.fixture(scope="module")
def made():
    return network()


@pytest.fixture
def net(made):
    made.activate("two")
    return made


def answers(net):
    return {
        task.name: two_tasks.scores(net, task.name, X) for task in net.tasks
    }


def save(path, **how):
    return lambda net: net.save(path, **how)


@pytest.mark.parametrize(
    "write",
    [
        save("n.h5"),
        save("n.hdf5"),
        save(pathlib.Path("n.h5")),
        save("n.weights.h5"),
        save("folder"),
        save("folder", zipped=False),
        save("n.keras", save_format="h5"),
        save("folder", save_format="tf"),
        lambda net: keras.saving.save_model(net, "n.h5"),
    ],
)
def test_a_file_that_holds_no_tasks_is_refused(
    net, tmp_path, monkeypatch, write
):
    monkeypatch.chdir(tmp_path)
    before = answers(net)
    pathlib.Path("n.keras").write_text("mine")
    with pytest.raises(StateError, match=r"net\.save\('NAME\.keras'\)") as info:
        write(net)
    assert "\n" not in str(info.value)
    assert pathlib.Path("n.keras").read_text() == "mine"
    assert os.listdir() == ["n.keras"]
    # Files written afterwards load, compiled as the network is.
    net.save("n.keras")
    loaded = keras.saving.load_model("n.keras")
    assert answers(loaded) == before
    assert isinstance(loaded.optimizer, keras.optimizers.Adam)


@pytest.mark.parametrize("config", [None, {}, {"loss": "mse"}])
def test_an_incomplete_compile_config_leaves_a_network_uncompiled(config):
    net = pn.PackNet(
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    )
    with pytest.warns(UserWarning, match=r"call compile\(\)"):
        net.compile_from_config(config)
    assert not net.compiled


def test_a_file_with_an_incomplete_compile_config_loads(net, tmp_path):
    """A refused HDF5 file once took the optimizer out of all later files."""
    whole = net.get_compile_config
    before = answers(net)
    net.get_compile_config = lambda: {
        k: v for k, v in whole().items() if k != "optimizer"
    }
    try:
        net.save(tmp_path / "n.keras")
    finally:
        del net.get_compile_config
    with pytest.warns(UserWarning, match=r"call compile\(\)"):
        loaded = keras.saving.load_model(tmp_path / "n.keras")
    assert answers(loaded) == before


@pytest.mark.parametrize(
    "make",
    [
        copy.copy,
        copy.deepcopy,
        lambda net: pickle.loads(pickle.dumps(net)),
    ],
)
@pytest.mark.parametrize("active", ["one", "two"])
def test_a_copy_has_all_tasks_and_the_same_one_active(net, make, active):
    before = answers(net)
    net.activate(active)
    made = make(net)
    assert made.active_task.name == net.active_task.name == active
    scores = net.predict(X, verbose=0)
    assert made.predict(X, verbose=0).tobytes() == scores.tobytes()
    assert answers(made) == before
    made.verify_digests()
    # They share nothing.
    two_tasks.pack(made, "three", X, two_tasks.labels(32))
    assert [task.name for task in net.tasks] == ["one", "two"]
    assert answers(net) == before


def test_a_copy_of_a_task_in_training_goes_on():
    net = network()
    net.pretrained_kernels = [np.ones((6, 12), np.float32)]
    net.add_task("three", 3)
    net.compile("adam", "sparse_categorical_crossentropy")
    net.fit(X, two_tasks.labels(32), verbose=0)
    made = copy.deepcopy(net)
    assert (made.active_task.name, made.phase) == ("three", "train")
    assert np.array_equal(made.pretrained_kernels[0], net.pretrained_kernels[0])
    made.fit(X, two_tasks.labels(32), verbose=0)
    made.prune(0.5)
    made.pack()


FRESH = [
    keras.models.clone_model,
    lambda net: keras.models.model_from_json(net.to_json()),
    lambda net: pn.PackNet.from_config(net.get_config()),
]


@pytest.mark.parametrize("make", FRESH)
def test_a_network_of_a_config_says_that_it_has_no_weights(net, tmp_path, make):
    made = make(net)
    assert json.loads(net.to_json())["class_name"] == "PackNet"
    made.compile("adam", "sparse_categorical_crossentropy")
    for use in (
        lambda: made.predict(X, verbose=0),
        lambda: made.evaluate(X, two_tasks.labels(32), verbose=0),
        lambda: made.fit(X, two_tasks.labels(32), verbose=0),
        lambda: made.add_task("three", 3),
        lambda: made.pack(),
        lambda: made.save(tmp_path / "n.keras"),
        lambda: made.as_model("one"),
        lambda: pn.extract(made, "one"),
        lambda: pn.export_saved_model(made, tmp_path / "1"),
    ):
        with pytest.raises(PromiseError, match=r"copy\.deepcopy") as info:
            use()
        assert "\n" not in str(info.value)
    with pytest.raises(PromiseError, match="one, two cannot be used"):
        made(X)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("make", FRESH)
def test_a_network_of_a_config_takes_saved_weights(net, tmp_path, make):
    before = answers(net)
    net.save_weights(tmp_path / "n.weights.h5")
    made = make(net)
    made.load_weights(tmp_path / "n.weights.h5")
    assert answers(made) == before
    made.verify_digests()


@pytest.mark.parametrize(
    "make",
    [
        copy.deepcopy,
        pickle.dumps,
        lambda backbone: backbone.save("b.keras"),
        lambda backbone: backbone.save_weights("b.weights.h5"),
        lambda backbone: keras.Sequential([backbone]).save("b.keras"),
    ],
)
def test_a_copy_of_the_backbone_mixes_no_tasks(
    net, tmp_path, monkeypatch, make
):
    monkeypatch.chdir(tmp_path)
    make(net.backbone)
    net.activate("one")
    with pytest.raises(PhaseError, match="an older task than 'two', and a"):
        make(net.backbone)
    # What is all tasks', or one's, is not concerned.
    copy.deepcopy(net)
    net.save_weights("n.weights.h5")
    pn.extract(net, "one").save("one.keras")
    net.activate("two")
    again = copy.deepcopy(net.backbone)
    assert np.array_equal(again(X), net.backbone(X))


def test_a_model_is_part_of_one_network(net):
    """Its layers would follow the tasks of both."""
    before = answers(net)
    with pytest.raises(ConversionError, match="part of the network 'packnet"):
        pn.PackNet(net.backbone)
    assert answers(net) == before
    masked = pn.mask_model(plain_model())
    first = pn.PackNet(masked)
    assert first.backbone is masked
    del first
    pn.PackNet(masked)  # Nobody has the first one any more.


def plain_model():
    inputs = keras.Input((6,))
    return keras.Model(inputs, keras.layers.Dense(4)(inputs))


def test_a_clone_of_the_backbone_is_a_fresh_one(net):
    before = answers(net)
    net.activate("one")
    made = keras.models.clone_model(net.backbone)
    assert not {*map(id, made.weights)} & {*map(id, net.backbone.weights)}
    fresh = pn.PackNet(made)
    assert fresh.capacity == 1.0
    two_tasks.pack(fresh, "other", X, two_tasks.labels(32))
    assert answers(net) == before


def test_refused_forms_leave_the_network_as_it_was(tmp_path):
    net = network()
    before = answers(net)
    with pytest.raises(NetworkError, match="export_saved_model.*extract"):
        net.export(tmp_path / "1")
    with pytest.raises(PhaseError, match="extract"):
        net.quantize("int8")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        net.add_task("three", 3)
    net.activate("one")
    assert two_tasks.scores(net, "one", X) == before["one"]
