"""Files of a network: the same bytes under any active task."""

import contextlib
import os
import resource
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from support.phase_nets import IMAGES, LABELS, net_with, train

from packnet_tf.errors import (
    PhaseError,
    PromiseError,
    StateError,
    TaskError,
)


def contents(path):
    """Returns all that a file holds, except when it was written."""
    if str(path).endswith(".h5"):
        return datasets(path)
    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json")
        with archive.open("model.weights.h5") as file:
            return config, datasets(file)


def datasets(file):
    found = {}
    with h5py.File(file) as h5:
        h5.visititems(
            lambda name, item: (
                found.__setitem__(name, item[()].tobytes())
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return found


@pytest.mark.parametrize("suffix", ["keras", "weights.h5"])
def test_files_do_not_depend_on_the_active_task(tmp_path, suffix):
    net = net_with("one", "two")
    net.add_task("three", 3)
    train(net)
    written = []
    for active in ("one", "two", "three"):
        net.activate(active)
        path = tmp_path / f"{active}.{suffix}"
        save = net.save if suffix == "keras" else net.save_weights
        save(path)
        assert net.active_task.name == active
        written.append(contents(path))
    assert written[0] == written[1] == written[2]


def test_saving_elsewhere_under_an_old_task_is_refused(tmp_path):
    net = net_with("one", "two")
    net.activate("one")
    with pytest.raises(PhaseError, match=r"net\.save"):
        keras.saving.save_model(net, tmp_path / "net.keras")


@pytest.mark.parametrize("active", ["one", "two", "three"])
def test_load_model_gives_every_task_back(tmp_path, active):
    net = net_with("one", "two", "three")
    outputs = {}
    for task in net.tasks:
        net.activate(task.name)
        outputs[task.name] = net.predict(IMAGES, verbose=0).tobytes()
    net.activate(active)
    net.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    assert [t.to_dict() for t in loaded.tasks] == [
        t.to_dict() for t in net.tasks
    ]
    assert loaded.active_task.name == "three"
    loaded.verify_digests()
    for name, before in outputs.items():
        loaded.activate(name)
        assert loaded.predict(IMAGES, verbose=0).tobytes() == before


def test_a_loaded_network_goes_on_training(tmp_path):
    net = net_with("one")
    net.add_task("two", 3)
    train(net)
    net.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    assert loaded.phase == "train" and loaded.newest.trained
    for a in (net, loaded):
        a.fit(IMAGES, LABELS, shuffle=False, epochs=2, verbose=0)
    for a, b in zip(net.get_weights(), loaded.get_weights(), strict=True):
        assert a.tobytes() == b.tobytes()
    loaded.prune(0.5)
    train(loaded)
    loaded.pack()


def test_weights_round_trip(tmp_path):
    net = net_with("one")
    net.add_task("two", 3)
    train(net)
    net.save_weights(tmp_path / "net.weights.h5")
    before = net.predict(IMAGES, verbose=0)
    train(net)
    net.activate("one")
    net.load_weights(tmp_path / "net.weights.h5")
    net.activate("two")
    assert net.predict(IMAGES, verbose=0).tobytes() == before.tobytes()
    train(net)


def test_weights_of_other_tasks_are_refused(tmp_path):
    net_with("one", "two").save_weights(tmp_path / "net.weights.h5")
    net = net_with("one")
    before = [np.asarray(v).tobytes() for v in net.variables]
    with pytest.raises(TaskError, match="holds the tasks .one, two., the net"):
        net.load_weights(tmp_path / "net.weights.h5")
    assert [np.asarray(v).tobytes() for v in net.variables] == before


def test_weights_of_other_packed_tasks_of_the_same_names_are_refused(
    tmp_path,
):
    net, other = net_with("one", "two"), net_with("one", "two")
    kernel = other.heads[0].kernel
    other.tasks[0].digest = None
    kernel.assign(kernel + 1)
    other.tasks[0].digest = other.digest_of("one")
    other.save_weights(tmp_path / "net.weights.h5")
    before = [np.asarray(v).tobytes() for v in net.variables]
    with pytest.raises(PromiseError, match="other packed task.* one than"):
        net.load_weights(tmp_path / "net.weights.h5")
    assert [np.asarray(v).tobytes() for v in net.variables] == before
    net.verify_digests()


def test_saving_a_broken_network_is_refused(tmp_path):
    net = net_with("one")
    kernel = net.masked_kernels()[0]
    kernel.variable.assign(kernel.variable + 1)
    with pytest.raises(PromiseError, match="one"):
        net.save(tmp_path / "net.keras")
    assert not (tmp_path / "net.keras").exists()


def test_logits_and_scores_agree_under_mixed_precision():
    stock = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        net = net_with()
        net.add_task("one", 3)
        scores = np.asarray(net(IMAGES))
        logits = net.logits(IMAGES)
        assert (
            scores.tobytes() == np.asarray(keras.ops.softmax(logits)).tobytes()
        )
        net.compile("adam", "sparse_categorical_crossentropy")
    finally:
        keras.config.set_dtype_policy(stock)


@contextlib.contextmanager
def no_file_longer_than(size):
    """Makes the system refuse longer files, whoever writes them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def method(net, suffix):
    return net.save if suffix == "keras" else net.save_weights


@pytest.mark.parametrize("share", [0.1, 0.99])
@pytest.mark.parametrize("suffix", ["keras", "weights.h5"])
def test_a_full_disk_leaves_the_file_that_was_there(tmp_path, suffix, share):
    net = net_with("one")
    path = tmp_path / f"net.{suffix}"
    method(net, suffix)(path)
    before = path.read_bytes()
    net.add_task("two", 3)
    with (
        no_file_longer_than(int(share * len(before))),
        pytest.raises(StateError, match=r"net\..*too large.*unchang") as error,
    ):
        method(net, suffix)(path)
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == before


@pytest.mark.parametrize("suffix", ["keras", "weights.h5"])
def test_a_file_is_replaced_as_keras_would_write_it(
    tmp_path, suffix, monkeypatch
):
    net = net_with("one")
    save = method(net, suffix)
    path, link = tmp_path / f"net.{suffix}", tmp_path / f"link.{suffix}"
    path.write_text("mine")
    path.chmod(0o600)
    link.symlink_to(path)
    asked = []
    monkeypatch.setattr(
        "builtins.input", lambda text: asked.append(text) or "n"
    )
    save(str(link), overwrite=False)
    assert path.read_text() == "mine" and str(link) in asked[0]
    monkeypatch.setattr("builtins.input", lambda text: "y")
    save(link, overwrite=False)
    assert link.is_symlink() and path.stat().st_mode & 0o777 == 0o600
    assert contents(link) == contents(path)
    save(f"ram://net.{suffix}")
    assert tf.io.gfile.stat(f"ram://net.{suffix}").length
    with pytest.raises(StateError, match="No such file"):
        save(tmp_path / "missing" / path.name)
    assert sorted(os.listdir(tmp_path)) == [link.name, path.name]


def test_weights_in_several_files_are_keras_s_own(tmp_path):
    net = net_with("one")
    net.save_weights(tmp_path / "net.weights.json", max_shard_size=1)
    before = net.predict(IMAGES, verbose=0).tobytes()
    made = keras.models.clone_model(net)
    made.load_weights(tmp_path / "net.weights.json")
    assert made.predict(IMAGES, verbose=0).tobytes() == before
