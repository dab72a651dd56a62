import copy
import errno
import json
import os
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import tiny_nets

import packnet_tf as pn
from packnet_tf.errors import PhaseError, PromiseError, StateError, TaskError
from packnet_tf.model.replicas import make_strategy
from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A network, and a workdir with a state after each of its two tasks."""
    workdir = Workdir(tmp_path_factory.mktemp("states") / "w")
    net = tiny_nets.packed_net(())
    for name in ("a", "b"):
        tiny_nets.add_packed(net, name)
        states.commit(
            workdir,
            net,
            metrics={"accuracy": np.float32(0.5)},
            facts={"fractions": (0.5,), "task": name},
            probe_images=tiny_nets.images(2),
        )
    return net, workdir


@pytest.fixture
def workdir(made, tmp_path):
    """A copy of the workdir, for the test to do with what it wants."""
    shutil.copytree(made[1].path, tmp_path / "w")
    return Workdir(tmp_path / "w")


@pytest.fixture
def empty(tmp_path):
    return Workdir(tmp_path / "w")


def test_a_state_holds_the_whole_network(made):
    net, workdir = made
    assert [s.path.name for s in workdir.states()] == ["001-a", "002-b"]
    assert workdir.newest().number == 2
    assert sorted(os.listdir(workdir.states_path / "002-b")) == [
        "manifest.json",
        "manifest.sha256",
        "net.keras",
        "probe.npz",
    ]
    read, state = states.load(workdir.path)
    assert state == workdir.state("b") == workdir.state(2)
    assert read.active_task.name == "b"
    for task in net.tasks:
        assert read.digest_of(task.name) == net.digest_of(task.name)
        assert read.task(task.name) == task
    older, state = states.load(workdir, "a")
    assert [task.name for task in older.tasks] == ["a"] and state.number == 1
    assert older.digest_of("a") == net.digest_of("a")


def test_a_task_answers_the_same_in_every_later_state(workdir):
    net, _ = states.load(workdir, "a")
    images = tiny_nets.images()
    expected = tiny_nets.graph_logits(net, "a", images)
    net, _ = states.load(workdir)
    tiny_nets.add_packed(net, "c")
    states.commit(workdir, net)
    for number in (2, 3):
        read, _ = states.load(workdir, number)
        found = tiny_nets.graph_logits(read, "a", images)
        assert found.tobytes() == expected.tobytes()


def test_the_manifest_says_how_each_task_was_made(made):
    net, workdir = made
    state = workdir.newest()
    assert [task.name for task in state.tasks] == ["a", "b"]
    for task in state.tasks:
        assert task.metrics == {"accuracy": 0.5}
        assert task.facts == {"fractions": [0.5], "task": task.name}
        assert task.digest == net.task(task.name).digest
        assert task.weights > 0
    assert state.task("a").classes == 3
    with pytest.raises(TaskError, match="'x'; the tasks are: a, b"):
        state.task("x")
    assert state.manifest.machine == states.machine_facts()
    assert state.manifest.versions["tensorflow"] == tf.__version__


def test_a_compiled_network_is_written_without_its_optimizer(empty):
    workdir = empty
    net = tiny_nets.packed_net(())
    net.add_task("a", 3)
    net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    net.fit(tiny_nets.images(), np.arange(5) % 3, verbose=0)
    net.pack()
    states.commit(workdir, net)
    read, _ = states.load(workdir)
    assert not read.compiled and read.optimizer is None
    assert net.compiled and net.optimizer is not None


def test_the_origin_is_kept_beside_the_states(made, workdir):
    net, _ = made
    first = workdir.origin_path.read_bytes()
    assert len(net.pretrained_kernels) == len(net.masked_kernels())
    read, _ = states.load(workdir)
    for ours, theirs in zip(
        net.pretrained_kernels, read.pretrained_kernels, strict=True
    ):
        assert ours.tobytes() == theirs.tobytes()
    assert states.load(workdir, origin=False)[0].pretrained_kernels is None
    copied = copy.deepcopy(read).pretrained_kernels
    assert isinstance(copied, list)
    for ours, theirs in zip(
        read.pretrained_kernels[:2] + [read.pretrained_kernels[-1]],
        copied[:2] + [copied[-1]],
        strict=True,
    ):
        assert ours.tobytes() == theirs.tobytes()
    tiny_nets.add_packed(read, "c")
    states.commit(workdir, read)
    assert workdir.origin_path.read_bytes() == first
    workdir.origin_path.write_bytes(first[:-1] + b"x")
    with pytest.raises(StateError, match="origin.npz is not what was written"):
        states.load(workdir)
    # Nor does a later state take the damage for what was written.
    tiny_nets.add_packed(read, "d")
    states.commit(workdir, read)
    with pytest.raises(StateError, match="origin.npz is not what was written"):
        states.load(workdir)


def test_an_origin_that_is_lost_after_loading(workdir, tmp_path, monkeypatch):
    monkeypatch.chdir(workdir.path)
    net, _ = states.load(".")
    monkeypatch.chdir(tmp_path)
    kept = workdir.origin_path.read_bytes()
    before = [value.tobytes() for value in map(np.asarray, net.weights)]
    free = net.capacity
    with np.load(workdir.origin_path) as arrays:
        other = dict(arrays)
    other["kernel_1"] = other["kernel_1"][..., :-1]
    np.savez(workdir.origin_path, **other)
    with pytest.raises(StateError, match="is of another network: kernel 1 has"):
        net.add_task("c", 3)
    workdir.origin_path.unlink()
    with pytest.raises(StateError, match="origin.npz cannot be read"):
        net.add_task("c", 3)
    # Nothing has changed, so that it can be put back.
    assert [task.name for task in net.tasks] == ["a", "b"]
    assert [v.tobytes() for v in map(np.asarray, net.weights)] == before
    assert net.capacity == free
    workdir.origin_path.write_bytes(kept)
    net.add_task("c", 3)
    assert net.capacity == 0
    with pytest.raises(IndexError):
        net.pretrained_kernels[len(net.pretrained_kernels)]


def test_only_packed_networks_are_committed(empty):
    workdir = empty
    net = tiny_nets.packed_net(())
    with pytest.raises(PhaseError, match="pack()"):
        states.commit(workdir, net)
    net.add_task("a", 3)
    with pytest.raises(PhaseError, match="pack()"):
        states.commit(workdir, net)
    assert not workdir.path.exists()


def test_a_changed_older_task_is_refused_and_nothing_written(workdir):
    net, _ = states.load(workdir)
    tiny_nets.add_packed(net, "c")
    kernel = net.masked_kernels()[0]
    kernel.variable.assign(np.asarray(kernel.variable) * 1.001)
    before = workdir.newest()
    with pytest.raises(PromiseError, match="a, b, c"):
        states.commit(workdir, net)
    assert workdir.newest() == before
    assert sorted(os.listdir(workdir.states_path)) == ["001-a", "002-b"]


def test_free_weights_that_are_not_zero_are_refused(empty):
    workdir = empty
    net = tiny_nets.packed_net(("a",))
    kernel = net.masked_kernels()[0]
    value, mask = np.asarray(kernel.variable), np.asarray(kernel.mask)
    kernel.variable.assign(np.where(mask == 0, np.float32(1), value))
    with pytest.raises(StateError, match="free weights"):
        states.commit(workdir, net)
    assert workdir.states() == [] and not workdir.origin_path.exists()


def test_states_follow_each_other(made):
    net, workdir = made
    with pytest.raises(StateError, match="002-b is as new"):
        states.commit(workdir, net)
    other = tiny_nets.packed_net(("a", "b", "c"), seed=5)
    with pytest.raises(StateError, match="older tasks are not those"):
        states.commit(workdir, other)


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_a_full_disk_leaves_the_states_as_they_were(workdir, monkeypatch, step):
    net, _ = states.load(workdir)
    tiny_nets.add_packed(net, "c")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, full)
        with pytest.raises(StateError, match="003-c: .*No space left"):
            states.commit(workdir, net)
    assert sorted(os.listdir(workdir.states_path)) == ["001-a", "002-b"]
    states.commit(workdir, net)
    assert workdir.newest().name == "c"


@pytest.mark.parametrize(
    "name", ["net.keras", "manifest.json", "manifest.sha256"]
)
def test_a_damaged_file_is_named(workdir, name):
    path = workdir.newest().path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(StateError, match=name):
        states.load(workdir)
    path.unlink()
    with pytest.raises(StateError, match=name):
        states.load(workdir)


def test_a_wrong_digest_in_a_well_formed_state_is_found(workdir):
    # Both files exchanged for others that fit each other, but not the tasks.
    folder = workdir.newest().path
    record = json.loads((folder / "manifest.json").read_text())
    record["tasks"][0]["digest"] = "0" * 64
    states.checksums.write_sealed_json(folder, "manifest", record)
    with pytest.raises(StateError, match="net.keras is damaged: task.* a are"):
        states.load(workdir)


def test_commit_and_load_under_two_replicas(empty):
    workdir = empty
    strategy = make_strategy(2)
    net = tiny_nets.packed_net(("a",), strategy=strategy)
    tiny_nets.add_packed(net, "b")
    images = tiny_nets.images()
    with strategy.scope():
        # The copy that is read back must not become a mirrored one.
        states.commit(workdir, net, probe_images=images)
        mirrored, _ = states.load(workdir)
    plain, _ = states.load(workdir)
    assert mirrored.distribute_strategy is strategy
    variable = mirrored.masked_kernels()[0].variable
    assert len(strategy.experimental_local_results(variable.value)) == 2
    for name in ("a", "b"):
        digests = {n.digest_of(name) for n in (net, mirrored, plain)}
        assert len(digests) == 1
        logits = {
            tiny_nets.graph_logits(n, name, images).tobytes()
            for n in (net, mirrored, plain)
        }
        assert len(logits) == 1


def test_code_in_a_layer_is_refused_by_name(empty):
    twice = keras.layers.Lambda(lambda x: x * 2.0, name="twice")
    net = pn.PackNet(keras.Sequential([tiny_nets.backbone(), twice]))
    tiny_nets.add_packed(net, "a")
    with pytest.raises(StateError, match=r"Lambda layer\(s\) twice hold"):
        states.commit(empty, net)
    assert not empty.states()


@keras.saving.register_keras_serializable("test_states")
def double(x):
    return x * 2.0


def test_a_registered_function_in_a_layer_is_kept(empty):
    twice = keras.layers.Lambda(double, name="twice")
    net = pn.PackNet(keras.Sequential([tiny_nets.backbone(), twice]))
    tiny_nets.add_packed(net, "a")
    states.commit(empty, net)
    loaded, _ = states.load(empty)
    images = tiny_nets.images(2)
    assert (
        loaded.logits(images).numpy().tobytes()
        == net.logits(images).numpy().tobytes()
    )
