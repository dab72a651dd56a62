"""The state machine of tasks: what is legal, and what the errors say."""

import keras
import numpy as np
import pytest
from support.phase_nets import IMAGES, LABELS, backbone, net_with, train

from packnet_tf.errors import (
    CapacityError,
    PackNetError,
    PhaseError,
    PromiseError,
    TaskError,
)
from packnet_tf.model.packnet import PackNet


def free_share(net):
    masks = [np.asarray(k.mask) for k in net.masked_kernels()]
    return sum((m == 0).sum() for m in masks) / sum(m.size for m in masks)


def test_the_public_face():
    net = PackNet(backbone())
    assert net.tasks == () and net.phase is None and net.capacity == 1.0
    net.add_task("cars", classes=3)
    assert net.phase == "train" and net.capacity == 0.0
    net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = net.fit(
        IMAGES, LABELS, validation_data=(IMAGES, LABELS), epochs=2, verbose=0
    )
    assert np.all(np.isfinite(history.history["val_loss"]))
    net.prune(0.75)
    assert net.phase == "retrain"
    net.fit(IMAGES, LABELS, epochs=1, verbose=0)
    task = net.pack()
    assert task.packed and len(task.digest) == 64
    assert net.capacity == pytest.approx(free_share(net))
    assert "cars" in net.summary_of_tasks()
    loss, accuracy = net.evaluate(IMAGES, LABELS, verbose=0)
    assert 0 <= accuracy <= 1 and np.isfinite(loss)


@pytest.mark.parametrize("private", ["per_task", "frozen"])
def test_outputs_of_packed_tasks_never_change(private):
    net = net_with(private=private)
    outputs = {}
    for name in ("one", "two", "three"):
        net.add_task(name, 3)
        train(net)
        net.prune(0.5)
        train(net)
        net.pack()
        outputs[name] = net.predict(IMAGES, verbose=0).tobytes()
    for name, before in outputs.items():
        net.activate(name)
        assert net.predict(IMAGES, verbose=0).tobytes() == before
    net.activate("three")
    assert net.predict(IMAGES, verbose=0).tobytes() == outputs["three"]


def test_frozen_private_variables_are_the_first_tasks():
    net = net_with("one", "two", private="frozen")
    for a, b in zip(
        net.private_values("one"), net.private_values("two"), strict=True
    ):
        assert a.tobytes() == b.tobytes()


def test_private_variables_of_each_task_differ():
    net = net_with("one", "two", private="per_task")
    pairs = zip(
        net.private_values("one"), net.private_values("two"), strict=True
    )
    assert all(a.tobytes() != b.tobytes() for a, b in pairs)


def test_exact_counts():
    net = net_with("one", fraction=0.75)
    for kernel in net.masked_kernels():
        mask = np.asarray(kernel.mask)
        assert (mask == 0).sum() == round(0.75 * mask.size)
        assert not np.asarray(kernel.variable)[mask == 0].any()


@pytest.mark.parametrize("origin", ["zero", "pretrained", "random", "auto"])
def test_origin_of_claimed_weights(origin):
    net = net_with()
    net.add_task("one", 3)
    train(net)
    whole = [np.array(k.variable) for k in net.masked_kernels()]
    net.prune(0.5)
    train(net)
    net.pack()
    net.add_task("two", 3, origin=origin)
    for kernel, old in zip(net.masked_kernels(), whole, strict=True):
        value = np.asarray(kernel.variable)[np.asarray(kernel.mask) == 2]
        was = old[np.asarray(kernel.mask) == 2]
        if origin == "zero":
            assert not value.any()
        elif origin == "random":
            assert value.any() and value.tobytes() != was.tobytes()
        else:
            assert value.tobytes() == was.tobytes()


def test_pack_after_train_leaves_no_capacity():
    net = net_with("one")
    net.add_task("last", 2)
    train(net)
    net.pack()
    assert net.capacity == 0.0
    with pytest.raises(CapacityError, match="No free weights"):
        net.add_task("more", 2)


def test_gradual_pruning_inside_a_fit():
    net = net_with("one")
    before = net.predict(IMAGES, verbose=0).tobytes()
    net.add_task("two", 3)
    train(net)

    class Gradual(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.prune_to((0.2, 0.4, 0.6)[epoch])

    net.fit(IMAGES, LABELS, epochs=3, callbacks=[Gradual()], verbose=0)
    for kernel, claimed in zip(
        net.masked_kernels(), net.newest.claimed, strict=True
    ):
        mask = np.asarray(kernel.mask)
        assert (mask == 0).sum() == round(0.6 * claimed)
        assert not np.asarray(kernel.variable)[mask == 0].any()
    net.pack()
    net.activate("one")
    assert net.predict(IMAGES, verbose=0).tobytes() == before


def illegal(step, net):
    {
        "fit": lambda: train(net),
        "prune": lambda: net.prune(0.5),
        "pack": net.pack,
        "add": lambda: net.add_task("next", 2),
    }[step]()


@pytest.mark.parametrize("step", ["fit", "prune", "pack"])
def test_steps_without_a_task(step):
    with pytest.raises(PhaseError, match="add_task"):
        illegal(step, net_with())


@pytest.mark.parametrize("step", ["fit", "prune", "pack"])
def test_steps_on_a_packed_task(step):
    with pytest.raises(PhaseError, match="'one' is packed.*add_task"):
        illegal(step, net_with("one"))


@pytest.mark.parametrize("step", ["prune", "pack"])
def test_steps_before_training(step):
    net = net_with("one")
    net.add_task("two", 2)
    with pytest.raises(PhaseError, match="'two' has not been trained"):
        illegal(step, net)


def test_adding_before_packing():
    net = net_with()
    net.add_task("one", 2)
    with pytest.raises(PhaseError, match=r"'one' is in its train.*pack\(\)"):
        illegal("add", net)


@pytest.mark.parametrize("step", ["fit", "prune", "pack"])
def test_steps_while_an_older_task_is_active(step):
    net = net_with("one")
    net.add_task("two", 3)
    train(net)
    net.activate("one")
    with pytest.raises(PhaseError, match=r"activate\('two'\)"):
        illegal(step, net)


def test_unknown_and_duplicate_tasks():
    net = net_with("one")
    with pytest.raises(TaskError, match="Unknown task 'cats'.*one"):
        net.activate("cats")
    with pytest.raises(TaskError, match="'one' exists"):
        net.add_task("one", 2)


@pytest.mark.parametrize(
    "name", ["", "a/b", "../x", "serving_default", "x" * 65, "a b", ".x"]
)
def test_names_that_are_no_file_names(name):
    with pytest.raises(TaskError):
        net_with().add_task(name, 2)


def test_the_most_tasks():
    net = net_with("one")
    first = net.tasks[0]
    net.book.records[:] = [first] * 255
    with pytest.raises(CapacityError, match="255"):
        net.add_task("next", 2)


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 1.5, float("nan")])
def test_fraction_outside_its_range(fraction):
    net = net_with()
    net.add_task("one", 3)
    train(net)
    with pytest.raises(PackNetError):
        net.prune(fraction)


def test_set_weights_on_a_packed_task_is_found():
    net = net_with("one")
    weights = net.get_weights()
    net.set_weights([w + 1 if w.dtype == np.float32 else w for w in weights])
    with pytest.raises(PromiseError, match="one"):
        net.verify_digests()


def test_pack_refuses_when_an_older_task_changed():
    net = net_with("one")
    net.add_task("two", 3)
    train(net)
    kernel = net.masked_kernels()[0]
    kernel.variable.assign(kernel.variable + 1)
    with pytest.raises(PromiseError, match="one"):
        net.pack()
    assert net.phase == "train"


def test_switching_keeps_the_task_in_training():
    net = net_with("one")
    net.add_task("two", 3)
    train(net)
    before = net.predict(IMAGES, verbose=0)
    net.activate("one")
    net.activate("two")
    assert net.predict(IMAGES, verbose=0).tobytes() == before.tobytes()
    train(net)


def test_callbacks_inside_a_phase(tmp_path):
    net = net_with("one")
    first = net.predict(IMAGES, verbose=0)
    net.add_task("two", 3)
    history = net.fit(
        IMAGES,
        LABELS,
        validation_data=(IMAGES, LABELS),
        epochs=4,
        verbose=0,
        class_weight={0: 1.0, 1: 2.0, 2: 0.5},
        callbacks=[
            keras.callbacks.EarlyStopping(
                patience=1, restore_best_weights=True, monitor="val_loss"
            ),
            keras.callbacks.ModelCheckpoint(
                str(tmp_path / "best.keras"), save_best_only=True
            ),
            keras.callbacks.ModelCheckpoint(
                str(tmp_path / "last.weights.h5"), save_weights_only=True
            ),
            keras.callbacks.ReduceLROnPlateau(patience=1, monitor="loss"),
        ],
    )
    best = min(history.history["val_loss"])
    assert net.evaluate(IMAGES, LABELS, verbose=0)[0] == pytest.approx(best)
    net.prune(0.5)
    assert float(net.optimizer.learning_rate) == pytest.approx(0.01)
    train(net)
    net.pack()
    net.activate("one")
    assert net.predict(IMAGES, verbose=0).tobytes() == first.tobytes()
    loaded = keras.saving.load_model(tmp_path / "best.keras")
    loaded.activate("one")
    assert loaded.predict(IMAGES, verbose=0).tobytes() == first.tobytes()


def test_sample_weights_act():
    net = net_with()
    net.add_task("one", 3)
    net.compile("sgd", "sparse_categorical_crossentropy")
    loss = [
        net.evaluate(IMAGES, LABELS, sample_weight=w, verbose=0)
        for w in (np.ones(32), np.full(32, 2.0))
    ]
    assert loss[1] != loss[0]


def test_a_loss_of_logits_is_refused_behind_softmax():
    net = net_with()
    net.add_task("one", 3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with pytest.raises(TaskError, match="from_logits"):
        net.compile("sgd", loss)
    net = net_with()
    net.add_task("one", 3, activation="linear")
    net.compile("sgd", loss)
