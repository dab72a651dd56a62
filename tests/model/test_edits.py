"""The newest task removed, tasks renamed: older tasks notice nothing."""

import keras
import numpy as np
import pytest
from support import tiny_nets

from packnet_tf.errors import PhaseError, PromiseError, TaskError
from packnet_tf.model.replicas import make_strategy
from packnet_tf.storage.network_file import write_network

IMAGES = tiny_nets.images()


def file_of(net, path):
    """Returns all that a network's file holds, but for seeds."""
    write_network(net, path)
    return path.read_bytes()


@pytest.mark.parametrize("private", ["per_task", "frozen"])
def test_the_network_is_what_it_was_before_the_task(tmp_path, private):
    net = tiny_nets.packed_net(("a", "b"), private=private)
    before = file_of(net, tmp_path / "1.keras")
    logits = {n: tiny_nets.graph_logits(net, n, IMAGES) for n in ("a", "b")}
    tiny_nets.add_packed(net, "c")
    net.activate("a")
    net.remove_task("c")
    assert net.active_task.name == "b" and len(net.tasks) == 2
    assert file_of(net, tmp_path / "2.keras") == before
    for name, expected in logits.items():
        found = tiny_nets.graph_logits(net, name, IMAGES)
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_task_in_training_may_go_and_another_follow(replicas):
    strategy = make_strategy(replicas)
    net = tiny_nets.packed_net(("a",), strategy=strategy)
    labels = np.arange(8) % 4
    images = tiny_nets.images(8)

    def add(name, classes):
        net.add_task(name, classes, seed=5)
        net.compile("adam", "sparse_categorical_crossentropy")
        net.fit(images, labels, batch_size=8, verbose=0, shuffle=False)
        return [np.asarray(v).tobytes() for v in net.variables]

    digest = net.digest_of("a")
    free = net.capacity
    net.add_task("other", 7)
    net.compile("sgd", "sparse_categorical_crossentropy")
    net.fit(images, labels, batch_size=8, verbose=0)
    net.predict(images, verbose=0)
    net.remove_task("other")
    assert net.capacity == free and net.digest_of("a") == digest
    found = add("b", 4)
    # A network that never had the other task.
    net = tiny_nets.packed_net(("a",), strategy=strategy)
    assert found == add("b", 4)
    assert net.predict(images, verbose=0).shape == (8, 4)
    net.pack()
    assert net.digest_of("a") == digest


def test_what_later_tasks_stand_on_stays():
    net = tiny_nets.packed_net(("a", "b", "c"))
    with pytest.raises(TaskError, match="'a' is not the newest.*c, b first"):
        net.remove_task("a")
    with pytest.raises(TaskError, match="Unknown task 'x'"):
        net.remove_task("x")
    net.remove_task("c")
    net.remove_task("b")
    with pytest.raises(PhaseError, match="'a' is the first"):
        net.remove_task("a")
    assert [task.name for task in net.tasks] == ["a"]


def test_a_broken_network_is_not_touched():
    net = tiny_nets.packed_net(("a", "b"))
    net.heads[0].kernel.assign(net.heads[0].kernel + 1.0)
    with pytest.raises(PromiseError, match="a have changed"):
        net.remove_task("b")
    assert len(net.tasks) == 2


def test_renaming_changes_the_name_alone(tmp_path):
    net = tiny_nets.packed_net(("a", "b"))
    expected = tiny_nets.graph_logits(net, "a", IMAGES)
    digests = [task.digest for task in net.tasks]
    assert net.rename_task("a", "z").name == "z"
    assert net.rename_task("z", "z").name == "z"
    for wrong, match in (("b", "exists already"), ("../x", "file and sig")):
        with pytest.raises(TaskError, match=match):
            net.rename_task("z", wrong)
    with pytest.raises(TaskError, match="Unknown task 'a'"):
        net.rename_task("a", "c")
    net.save(tmp_path / "net.keras")
    read = keras.saving.load_model(tmp_path / "net.keras")
    assert [task.name for task in read.tasks] == ["z", "b"]
    assert [task.digest for task in read.tasks] == digests
    found = tiny_nets.graph_logits(read, "z", IMAGES)
    assert found.tobytes() == expected.tobytes()
