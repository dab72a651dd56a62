"""A task may compute with the first task's weights and its own alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import blob_nets
from support.blob_nets import A_LABELS, B_LABELS, A, B, blobs

import packnet_tf as pn

C, C_LABELS = blobs(13)
DATA = {
    "a": (A, A_LABELS),
    "b": (B, B_LABELS),
    "c": (C, C_LABELS),
    "d": (C, C_LABELS),
}
READS = {"a": "all", "b": "base", "c": "base", "d": "all"}


def add(net, name, images=None, retrain=True):
    x, y = DATA[name]
    start = None if images is None or len(net.tasks) == 0 else images
    net.add_task(name, 3, reads=READS[name], images=start)
    net.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    net.fit(x, y, epochs=2, verbose=0)
    net.prune(0.5, images=images)
    if retrain:
        net.fit(x, y, verbose=0)


def pack_all(images=None):
    net = blob_nets.new_net()
    for name in DATA:
        add(net, name, images)
        net.pack()
    return net


def scores(net, name):
    net.activate(name)
    return blob_nets.scores(net, DATA[name][0])


def change(net, owner):
    """Changes the weights of one task, as nobody may."""
    for kernel in net.masked_kernels():
        value = np.array(kernel.variable)
        value[np.asarray(kernel.mask) == owner] += 1
        kernel.variable.assign(value)


@pytest.fixture(scope="module")
def net():
    return pack_all()


def test_every_way_to_ask_gives_the_same_bytes(net, tmp_path):
    net.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    loaded.verify_digests()
    assert [task.reads for task in loaded.tasks] == list(READS.values())
    for layout in ("folded", "on_the_fly"):
        pn.export_saved_model(net, tmp_path / layout, layout=layout)
    served = [
        tf.saved_model.load(str(tmp_path / layout)).signatures
        for layout in ("folded", "on_the_fly")
    ]
    for name, (x, _) in DATA.items():
        expected = scores(net, name)
        assert scores(loaded, name) == expected
        assert blob_nets.scores(net.as_model(name), x) == expected
        assert blob_nets.scores(pn.extract(net, name), x) == expected
        for signatures in served:
            (given,) = signatures[name].structured_input_signature[1]
            found = signatures[name](**{given: tf.constant(x)})["scores"]
            assert found.numpy().tobytes() == expected


def test_it_does_not_depend_on_the_others():
    net = pack_all()
    before = {name: scores(net, name) for name in DATA}
    change(net, owner=2)
    same = {name: scores(net, name) == before[name] for name in DATA}
    assert same == {"a": True, "b": False, "c": True, "d": False}
    with pytest.raises(pn.PromiseError, match=r"b, d have changed"):
        net.verify_digests()


def test_what_is_read_is_part_of_what_is_proven(net):
    task = net.task("c")
    task.reads = "all"
    try:
        with pytest.raises(pn.PromiseError, match="c have changed"):
            net.verify_digests()
    finally:
        task.reads = "base"
    net.verify_digests()


def test_training_does_not_depend_on_the_others():
    """The same bytes are trained, whatever the unread weights are."""
    found = []
    for changed in (False, True):
        net = blob_nets.new_net()
        for name in ("a", "b"):
            add(net, name)
            net.pack()
        if changed:
            change(net, owner=2)
            # As if it had been packed so.
            net.task("b").digest = net.digest_of("b")
        add(net, "c", retrain=True)
        net.pack()
        found.append(scores(net, "c"))
    assert found[0] == found[1]


def test_the_fit_leaves_the_others_as_they_are():
    net = blob_nets.new_net()
    for name in ("a", "b"):
        add(net, name, images=DATA[name][0])
        net.pack()
    packed = {name: scores(net, name) for name in ("a", "b")}
    add(net, "c", images=C, retrain=False)
    pruned = scores(net, "c")
    net.pack()
    assert {name: scores(net, name) for name in packed} == packed
    assert scores(net, "c") == pruned


def test_weights_of_other_tasks_get_no_gradient():
    net = blob_nets.new_net()
    for name in ("a", "b"):
        add(net, name)
        net.pack()
    before = [np.array(k.variable) for k in net.masked_kernels()]
    net.add_task("c", 3, reads="base")
    # Weight decay moves weights whose gradient is 0.
    net.compile(
        keras.optimizers.AdamW(0.01, weight_decay=0.1),
        "sparse_categorical_crossentropy",
    )
    net.fit(C, C_LABELS, verbose=0)
    for kernel, value in zip(net.masked_kernels(), before, strict=True):
        older = np.isin(np.asarray(kernel.mask), (1, 2))
        now = np.asarray(kernel.variable)
        assert now[older].tobytes() == value[older].tobytes()


def test_another_word_is_refused():
    net = blob_nets.new_net()
    with pytest.raises(pn.TaskError, match="expected all or base"):
        net.add_task("a", 3, reads="none")
    assert not net.tasks
