import dataclasses

import keras
import numpy as np
import pytest
from support import tiny_nets

from packnet_tf.errors import PromiseError, StateError
from packnet_tf.storage import checkpoints
from packnet_tf.storage.checkpoints import TrainingRecord

RECORD = TrainingRecord("b", phase="train", epoch=1)


def net_in_training(dropout_seed=1):
    """A packed task, and a second one in training."""
    net = tiny_nets.packed_net(("a",))
    net.add_task("b", 2, origin="random", seed=3)
    net.compile("adam", "sparse_categorical_crossentropy")
    return net


def train(net):
    labels = np.arange(5) % 2
    net.fit(tiny_nets.images(), labels, batch_size=5, verbose=0)


def arrays(net):
    variables = [*net.variables, *net.optimizer.variables]
    return [np.asarray(v).tobytes() for v in variables]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A network after a step, and the folder of its checkpoint."""
    net = net_in_training()
    train(net)
    folder = tmp_path_factory.mktemp("training") / "new"
    checkpoints.save(folder, net, RECORD)
    return net, folder


def test_a_checkpoint_holds_variables_slots_and_record(trained):
    net, folder = trained
    assert checkpoints.read_record(folder).epoch == 1
    other = net_in_training()
    assert arrays(other) != arrays(net)
    record = checkpoints.restore(folder, other)
    assert record == dataclasses.replace(RECORD, task=net.newest)
    assert arrays(other) == arrays(net)
    assert other.newest.to_dict() == net.newest.to_dict()


def test_training_goes_on_to_the_same_bytes(trained):
    _, folder = trained
    ends = []
    for _ in range(2):
        net = net_in_training()
        checkpoints.restore(folder, net)
        train(net)
        ends.append(arrays(net))
    assert ends[0] == ends[1]


def test_the_kernels_before_pruning_are_kept(tmp_path):
    def base():
        keras.utils.set_random_seed(0)
        net = tiny_nets.PackNet(tiny_nets.backbone())
        net.add_task("a", 3, head=None)
        net.compile("sgd", "sparse_categorical_crossentropy")
        return net

    net = base()
    train(net)
    net.prune(0.5)
    before = [value.tobytes() for value in net.pretrained_kernels]
    checkpoints.save(tmp_path, net, dataclasses.replace(RECORD, name="a"))
    other = base()
    checkpoints.restore(tmp_path, other)
    assert [v.tobytes() for v in other.pretrained_kernels] == before
    # Later tasks find them in the workdir.
    net.pack()
    net.add_task("b", 2)
    checkpoints.save(tmp_path, net, RECORD)
    with np.load(tmp_path / "checkpoint.npz") as stored:
        assert not [name for name in stored if name.startswith("origin")]


def test_there_may_be_none(tmp_path):
    assert checkpoints.read_record(tmp_path) is None
    assert checkpoints.read_record(tmp_path / "nowhere") is None
    checkpoints.remove(tmp_path)


def test_removing_leaves_no_trace(trained, tmp_path):
    net, _ = trained
    checkpoints.save(tmp_path, net, RECORD)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.npz"]
    checkpoints.remove(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [0, 10, -20])
def test_a_damaged_file_is_named(trained, tmp_path, length):
    _, folder = trained
    content = (folder / "checkpoint.npz").read_bytes()
    (tmp_path / "checkpoint.npz").write_bytes(content[:length])
    with pytest.raises(StateError, match="checkpoint.npz is damaged"):
        checkpoints.read_record(tmp_path)
    with pytest.raises(StateError, match="checkpoint.npz is damaged"):
        checkpoints.restore(tmp_path, net_in_training())


def test_flipped_bytes_are_found(trained, tmp_path):
    _, folder = trained
    content = bytearray((folder / "checkpoint.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "checkpoint.npz").write_bytes(content)
    with pytest.raises(StateError, match="checkpoint.npz"):
        checkpoints.restore(tmp_path, net_in_training())


def test_another_networks_checkpoint_is_refused(trained):
    _, folder = trained
    net = tiny_nets.packed_net(("a",))
    net.add_task("b", 7)
    with pytest.raises(
        StateError, match=r"not a checkpoint of this network .*\Z"
    ):
        checkpoints.restore(folder, net)


def test_a_changed_packed_task_is_neither_saved_nor_restored(trained, tmp_path):
    _, folder = trained
    net = net_in_training()
    net.heads[0].kernel.assign(net.heads[0].kernel + 1.0)
    with pytest.raises(PromiseError, match="a have changed"):
        checkpoints.save(tmp_path, net, RECORD)
    assert list(tmp_path.iterdir()) == []
    with np.load(folder / "checkpoint.npz") as stored:
        changed = dict(stored)
    for name in changed:
        if name.startswith("variable_") and changed[name].dtype == np.float32:
            changed[name] = changed[name] + np.float32(1)
    np.savez(tmp_path / "checkpoint.npz", **changed)
    with pytest.raises(PromiseError):
        checkpoints.restore(tmp_path, net_in_training())


def test_a_changed_record_is_refused(trained, tmp_path):
    _, folder = trained
    with np.load(folder / checkpoints.FILE) as old:
        arrays = {**old}
    record = arrays["record"].tobytes()
    assert b'"epoch": 1' in record
    changed = record.replace(b'"epoch": 1', b'"epoch": 0')
    arrays["record"] = np.frombuffer(changed, np.uint8)
    np.savez(tmp_path / checkpoints.FILE, **arrays)
    with pytest.raises(StateError, match="damaged .the record's digest"):
        checkpoints.read_record(tmp_path)
    # Checkpoints of release 0.1 have no digest of it.
    del arrays["record_sha256"]
    np.savez(tmp_path / checkpoints.FILE, **arrays)
    assert checkpoints.read_record(tmp_path).epoch == 0
