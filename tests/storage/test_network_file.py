import io
import json
import zipfile

import h5py
import keras
import numpy as np
import pytest
from support import tiny_nets

from packnet_tf.errors import StateError
from packnet_tf.model.packnet import PackNet
from packnet_tf.storage.network_file import (
    check_network,
    mask_problems,
    read_network,
    write_network,
)
from packnet_tf.untrusted.members import WEIGHTS


def test_the_same_bytes_whatever_is_active_and_compiled(tmp_path):
    net = tiny_nets.packed_net(("a", "b"))
    write_network(net, tmp_path / "1.keras")
    net.activate("a")
    write_network(net, tmp_path / "2.keras")
    net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    net.evaluate(tiny_nets.images(), np.zeros(5), verbose=0)
    optimizer = net.optimizer
    write_network(net, tmp_path / "3.keras")
    assert net.compiled and net.optimizer is optimizer
    net.evaluate(tiny_nets.images(), np.zeros(5), verbose=0)
    write_network(read_network(tmp_path / "1.keras"), tmp_path / "4.keras")
    one = (tmp_path / "1.keras").read_bytes()
    for name in ("2.keras", "3.keras", "4.keras"):
        assert (tmp_path / name).read_bytes() == one, name
    assert len(list(tmp_path.iterdir())) == 4
    assert net.active_task.name == "a"


def test_nothing_in_a_file_is_dated(tmp_path):
    words = keras.Input((3,), dtype="string")
    # Keras stores the vocabulary that a layer has found in a file of its own.
    lookup = keras.layers.StringLookup()
    lookup.adapt(["a", "b"])
    tokens = keras.layers.Embedding(4, 2)(lookup(words))
    net = PackNet(keras.Model(words, tokens))
    tiny_nets.add_packed(net, "a")
    write_network(net, tmp_path / "net.keras")
    with zipfile.ZipFile(tmp_path / "net.keras") as archive:
        names = archive.namelist()
        metadata = json.loads(archive.read("metadata.json"))
        dates = {info.date_time for info in archive.infolist()}
    assert any(name.startswith("assets/") for name in names), names
    assert dates == {(1980, 1, 1, 0, 0, 0)}
    assert metadata == {"keras_version": keras.__version__}
    read = read_network(tmp_path / "net.keras")
    assert read.digests() == net.digests()


def test_plain_keras_reads_it(tmp_path):
    net = tiny_nets.packed_net(("a", "b"))
    file = tmp_path / "net.keras"
    write_network(net, file)
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
    read = keras.saving.load_model(file)
    assert read.active_task.name == "b"
    digests = {task.name: task.digest for task in net.tasks}
    check_network(read, digests, file)
    assert not read.compiled


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_file_has_no_free_weights(tmp_path, precision):
    net = tiny_nets.packed_net(("a",), packed_precision=precision)
    full = tiny_nets.packed_net((), packed_precision=precision)
    tiny_nets.add_packed(full, "a", prune=False)
    weights = sum(kernel.value.size for kernel in net.masked_kernels())
    free = round(net.capacity * weights)
    assert 0.4 * weights < free < 0.6 * weights and full.capacity == 0
    write_network(net, tmp_path / "net.keras")
    write_network(full, tmp_path / "full.keras")
    half, whole = (
        (tmp_path / name).stat().st_size for name in ("net.keras", "full.keras")
    )
    # Masks and records take a little more.
    each = 2 if precision == "bfloat16" else 4
    assert whole - half > 0.8 * free * each
    read = read_network(tmp_path / "net.keras")
    assert mask_problems(read) == []
    write_network(read, tmp_path / "again.keras")
    again = (tmp_path / "again.keras").read_bytes()
    assert again == (tmp_path / "net.keras").read_bytes()


def test_the_reason_is_what_is_wrong_with_the_first_layer(tmp_path):
    write_network(tiny_nets.packed_net(("a",)), tmp_path / "net.keras")
    with zipfile.ZipFile(tmp_path / "net.keras") as archive:
        weights = io.BytesIO(archive.read(WEIGHTS))
        rest = {
            name: archive.read(name)
            for name in archive.namelist()
            if name != WEIGHTS
        }
    with h5py.File(weights, "a") as file:
        found = []
        file.visit(found.append)
        name = next(name for name in found if name.endswith("kernel_owned"))
        short = file[name][:-1]
        del file[name]
        file[name] = short
    with zipfile.ZipFile(tmp_path / "hurt.keras", "w") as archive:
        for name, content in {**rest, WEIGHTS: weights.getvalue()}.items():
            archive.writestr(name, content)
    with pytest.raises(StateError, match="weights of it are owned"):
        read_network(tmp_path / "hurt.keras")


def test_what_is_no_network_is_refused(tmp_path):
    file = tmp_path / "net.keras"
    file.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(StateError, match="net.keras is damaged: File is not"):
        read_network(file)
    tiny_nets.backbone().save(file)
    with pytest.raises(StateError, match="net.keras holds a Functional"):
        read_network(file)


def test_code_in_a_file_is_not_run(tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x)(inputs))
    model.save(tmp_path / "net.keras")
    with pytest.raises(StateError, match="cannot be read"):
        read_network(tmp_path / "net.keras")


def test_other_tasks_and_digests_are_refused(tmp_path):
    net = tiny_nets.packed_net(("a", "b"))
    digests = {task.name: task.digest for task in net.tasks}
    check_network(net, digests, tmp_path)
    with pytest.raises(StateError, match="expected a"):
        check_network(net, {"a": digests["a"]}, tmp_path)
    with pytest.raises(StateError, match="b are not what"):
        check_network(net, {**digests, "b": "0" * 64}, tmp_path)


def test_weights_that_no_digest_covers_are_checked_too():
    net = tiny_nets.packed_net(("a",))
    assert mask_problems(net) == []
    kernel = net.masked_kernels()[0]
    free = np.asarray(kernel.mask) == 0
    value = np.asarray(kernel.variable)
    kernel.variable.assign(np.where(free, np.float32(-0.0), value))
    assert f"{kernel.path} are not 0" in mask_problems(net)[0]
    kernel.variable.assign(value)
    kernel.mask.assign(np.where(free, 9, np.asarray(kernel.mask)))
    assert "task 9" in mask_problems(net)[0]
