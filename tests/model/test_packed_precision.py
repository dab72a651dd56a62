"""What is packed in 16 bits: rounded once, the same bytes everywhere after."""

import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from support.phase_nets import IMAGES, backbone, train

import packnet_tf as pn
from packnet_tf.errors import TaskError
from packnet_tf.masks.precision import narrowed
from packnet_tf.storage.network_file import read_network, write_network

PRECISIONS = ["bfloat16", "float16"]


def net_with(precision, *names):
    keras.utils.set_random_seed(2)
    net = pn.PackNet(backbone(), packed_precision=precision)
    for name in names:
        pack(net, name)
    return net


def pack(net, name):
    net.add_task(name, 3)
    train(net)
    net.prune(0.5)
    train(net)
    net.pack()


def scores(net, name):
    net.activate(name)
    return net.predict(IMAGES, verbose=0).tobytes()


def parts(net, name):
    """Returns all that a packed task is made of."""
    owner = net.task(name).owner
    owned = [
        np.where(np.asarray(k.mask) == owner, np.asarray(k.variable), 0)
        for k in net.masked_kernels()
    ]
    head = [np.asarray(w) for w in net.head_of(name).weights]
    return [*owned, *net.private_values(name), *head]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_number_of_a_packed_task_is_rounded(precision):
    net = net_with(precision, "one")
    net.add_task("two", 3)
    train(net)
    assert any(narrowed(a, precision) is a for a in parts(net, "two"))
    net.pack()
    for name in ("one", "two"):
        for array in parts(net, name):
            assert (
                array.dtype != np.float32
                or array.size == 0
                or (narrowed(array, precision).dtype != np.float32)
            )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_same_answers_in_every_later_state_and_file(precision, tmp_path):
    net = net_with(precision, "one")
    then = scores(net, "one")
    pack(net, "two")
    write_network(net, tmp_path / "net.keras")
    net.save(tmp_path / "own.keras")
    later = read_network(tmp_path / "net.keras")
    pack(later, "three")
    own = keras.saving.load_model(tmp_path / "own.keras")
    two = scores(net, "two")
    for other in (net, later, own):
        assert other.packed_precision == precision
        assert scores(other, "one") == then
        assert scores(other, "two") == two
        other.verify_digests()
    later.remove_task("three")
    assert scores(later, "two") == two
    pn.export_saved_model(later, tmp_path / "served")
    served = tf.saved_model.load(tmp_path / "served")
    for name in ("one", "two"):
        found = served.signatures[name](images=tf.constant(IMAGES))["scores"]
        assert found.numpy().tobytes() == scores(later, name)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_states_and_saved_models_store_two_bytes_a_value(precision, tmp_path):
    def sizes(kept):
        keras.utils.set_random_seed(0)
        inner = keras.Sequential(
            [keras.Input((64,)), keras.layers.Dense(2048, name="wide")]
        )
        net = pn.PackNet(inner, packed_precision=kept)
        net.add_task("one", 3)
        net.compile("sgd", "sparse_categorical_crossentropy")
        net.fit(np.ones((4, 64)), np.zeros(4), verbose=0)
        net.pack()
        file = tmp_path / f"{kept}.keras"
        write_network(net, file)
        folder = pn.export_saved_model(net, tmp_path / kept)
        values = [*folder.rglob("*.low"), *folder.rglob("*.top")]
        return file.stat().st_size, sum(f.stat().st_size for f in values)

    whole, short = sizes("float32"), sizes(precision)
    assert whole[0] - short[0] > 2 * 64 * 2048
    assert short[1] < 0.5 * whole[1]


def test_a_number_too_large_changes_nothing():
    net = net_with("float16", "one")
    net.add_task("two", 3)
    train(net)
    head = net.head_of("two")
    head.bias.assign([0.0, 1e6, 0.0])
    before = [a.tobytes() for a in parts(net, "two")]
    with pytest.raises(TaskError, match="bias has numbers up to 1e.06, which"):
        net.pack()
    assert net.phase == "train"
    assert [a.tobytes() for a in parts(net, "two")] == before


def test_other_precisions_are_refused():
    with pytest.raises(
        pn.NetworkError, match="packed_precision='int8'.*bfloat16"
    ):
        pn.PackNet(backbone(), packed_precision="int8")


def test_files_without_it_are_not_rounded():
    net = net_with("float32", "one")
    assert "packed_precision" not in net.get_config()
    assert any(
        a.astype(ml_dtypes.bfloat16).astype("f4").tobytes() != a.tobytes()
        for a in parts(net, "one")
    )
