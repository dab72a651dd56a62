"""Weights of an earlier epoch or phase come back under the masks of now."""

import copy
import warnings

import h5py
import keras
import numpy as np
import pytest
from support.phase_nets import IMAGES, LABELS, net_with, train

from packnet_tf.errors import PromiseError, StateError
from packnet_tf.model.packnet import PackNet


def masks_of(net):
    return [np.array(k.mask).tobytes() for k in net.masked_kernels()]


def free_weights(net):
    return [
        np.asarray(k.variable)[np.asarray(k.mask) == 0]
        for k in net.masked_kernels()
    ]


class Gradual(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.model.prune_to((0.2, 0.5, 0.75)[epoch])


def in_training():
    net = net_with("one")
    before = net.predict(IMAGES, verbose=0).tobytes()
    net.add_task("two", 3)
    train(net)
    return net, before


def finish(net, before):
    """Packs the task, adds another, and looks at the first one's answers."""
    net.pack()
    net.add_task("three", 3)
    net.activate("one")
    assert net.predict(IMAGES, verbose=0).tobytes() == before


def test_early_stopping_does_not_undo_gradual_pruning():
    net, before = in_training()
    best_is_first = keras.callbacks.EarlyStopping(
        "loss", mode="max", restore_best_weights=True, patience=9, baseline=-1
    )
    with pytest.warns(UserWarning, match="'two'.*other weights were pruned"):
        net.fit(
            IMAGES,
            LABELS,
            epochs=3,
            callbacks=[Gradual(), best_is_first],
            verbose=0,
        )
    free = [int((np.asarray(k.mask) == 0).sum()) for k in net.masked_kernels()]
    assert free == [round(0.75 * n) for n in net.newest.claimed]
    assert not any(part.any() for part in free_weights(net))
    finish(net, before)


def test_the_best_of_epochs_of_equal_pruning_comes_back_whole():
    net, _ = in_training()
    net.prune(0.5)
    best = net.get_weights()
    train(net)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        net.set_weights(best)
    for one, other in zip(net.get_weights(), best, strict=True):
        assert one.tobytes() == other.tobytes()


def test_a_file_of_the_train_phase_does_not_undo_pruning(tmp_path):
    net, before = in_training()
    file = tmp_path / "train.weights.h5"
    net.save_weights(file)
    trained = [np.array(k.variable) for k in net.masked_kernels()]
    net.prune(0.9)
    train(net)
    masks, capacity = masks_of(net), net.capacity
    with pytest.warns(UserWarning, match="other weights were pruned"):
        net.load_weights(file)
    assert (net.phase, net.capacity) == ("retrain", capacity)
    assert masks_of(net) == masks
    for kernel, value in zip(net.masked_kernels(), trained, strict=True):
        own = np.asarray(kernel.mask) != 0
        now = np.asarray(kernel.variable)
        assert now[own].tobytes() == value[own].tobytes()
        assert not now[~own].any()
    finish(net, before)


def test_a_checkpoint_of_a_less_pruned_epoch_does_not_undo_pruning(tmp_path):
    net, before = in_training()
    file = str(tmp_path / "best.weights.h5")
    keep = keras.callbacks.ModelCheckpoint(
        file,
        monitor="loss",
        mode="max",
        save_best_only=True,
        save_weights_only=True,
        initial_value_threshold=0.0,
    )
    net.fit(IMAGES, LABELS, epochs=3, callbacks=[Gradual(), keep], verbose=0)
    masks = masks_of(net)
    net.prune_to(0.9)
    masks = masks_of(net)
    with pytest.warns(UserWarning, match="other weights were pruned"):
        net.load_weights(file)
    assert masks_of(net) == masks
    finish(net, before)


def test_a_file_of_a_later_phase_is_loaded_with_its_masks(tmp_path):
    net, _ = in_training()
    net.save(tmp_path / "twin.keras")
    twin = keras.saving.load_model(tmp_path / "twin.keras")
    net.prune(0.9)
    train(net)
    for _ in ("retrain", "packed"):
        net.save_weights(tmp_path / "later.weights.h5")
        twin.load_weights(tmp_path / "later.weights.h5")
        assert (twin.phase, masks_of(twin)) == (net.phase, masks_of(net))
        if net.phase == "retrain":
            net.pack()
    assert twin.predict(IMAGES, verbose=0).tobytes() == (
        net.predict(IMAGES, verbose=0).tobytes()
    )


def test_masks_that_come_back_behind_the_networks_back_are_found():
    net, _ = in_training()
    older = net.backbone.get_weights()
    net.prune(0.9)
    train(net)
    net.backbone.set_weights(older)
    with pytest.raises(PromiseError, match="masks .* since .*prun"):
        net.pack()


def test_a_network_loaded_in_mid_phase_goes_on_scaling_its_loss(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        net = net_with()
        net.add_task("one", 3)
        train(net)
        net.save(tmp_path / "n.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    again = keras.saving.load_model(tmp_path / "n.keras")
    assert type(again.optimizer) is keras.optimizers.LossScaleOptimizer
    state = [np.array(v) for v in net.optimizer.variables]
    for one, other in zip(again.optimizer.variables, state, strict=True):
        assert np.asarray(one).tobytes() == other.tobytes()
    for each in (net, again):
        keras.utils.set_random_seed(1)
        each.fit(IMAGES, LABELS, epochs=2, shuffle=False, verbose=0)
    for one, other in zip(net.get_weights(), again.get_weights(), strict=True):
        assert one.tobytes() == other.tobytes()
    again.prune(0.5)
    assert type(again.optimizer) is keras.optimizers.LossScaleOptimizer


def test_layers_of_another_precision_do_not_change_the_networks(tmp_path):
    half = keras.layers.Dense(4, dtype="mixed_float16")
    net = PackNet(keras.Sequential([keras.Input((3,)), half]))
    net.save(tmp_path / "n.keras")
    again = keras.saving.load_model(tmp_path / "n.keras")
    for each in (net, again):
        each.compile("adam", "sparse_categorical_crossentropy")
        assert each.dtype_policy.name == "float32"
        assert type(each.optimizer) is keras.optimizers.Adam


@pytest.mark.parametrize("part", ["kernel_mask", "0"])
def test_a_damaged_file_is_named_in_one_line_and_changes_nothing(
    tmp_path, part
):
    net, before = in_training()
    file = tmp_path / "damaged.weights.h5"
    net.save_weights(file)
    with h5py.File(file, "r+") as content:
        names = []
        content["backbone"].visit(names.append)
        name = next(n for n in names if n.endswith(f"vars/{part}"))
        del content["backbone"][name]
        content["backbone"][name] = np.zeros(3, "uint8")
    train(net)
    weights = [w.tobytes() for w in net.get_weights()]
    with pytest.raises(StateError, match="damaged.weights.h5 cannot") as error:
        net.load_weights(file)
    assert "\n" not in str(error.value)
    assert [w.tobytes() for w in net.get_weights()] == weights
    net.prune(0.5)
    finish(net, before)


def damage(file):
    """Changes weights of a packed task."""
    with h5py.File(file, "r+") as content:
        names = []
        content.visit(names.append)
        # Kernels of a task in training are stored whole.
        ends = ("kernel_owned", "masked_dense/vars/0")
        name = next(n for n in names if n.endswith(ends))
        content[name][...] = content[name][...] + 1


def test_a_network_of_a_config_has_no_weights_after_a_load_that_failed(
    tmp_path,
):
    net = net_with("one")
    for file in ("whole.weights.h5", "damaged.weights.h5"):
        net.save_weights(tmp_path / file)
    damage(tmp_path / "damaged.weights.h5")
    made = keras.models.clone_model(net)
    with pytest.raises(PromiseError, match="one have changed"):
        made.load_weights(tmp_path / "damaged.weights.h5")
    with pytest.raises(PromiseError, match="has no weights"):
        made.predict(IMAGES, verbose=0)
    made.load_weights(tmp_path / "whole.weights.h5")
    assert np.array_equal(
        made.predict(IMAGES, verbose=0), net.predict(IMAGES, verbose=0)
    )


def test_masks_behind_the_networks_back_are_found_after_a_failed_load(
    tmp_path,
):
    net, _ = in_training()
    older = net.backbone.get_weights()
    net.prune(0.9)
    train(net)
    net.save_weights(tmp_path / "damaged.weights.h5")
    with h5py.File(tmp_path / "damaged.weights.h5", "r+") as content:
        del content["backbone"]
    with pytest.raises(StateError, match="cannot be read"):
        net.load_weights(tmp_path / "damaged.weights.h5")
    net.backbone.set_weights(older)
    with pytest.raises(PromiseError, match="masks .* since .*prun"):
        net.pack()


@pytest.mark.parametrize("later", ["train", "packed"])
def test_training_goes_on_after_a_failed_load_as_if_there_was_none(
    tmp_path, later
):
    net, _ = in_training()
    twin, other = copy.deepcopy(net), copy.deepcopy(net)
    train(net)
    if later == "packed":
        net.pack()
    net.save_weights(tmp_path / "damaged.weights.h5")
    damage(tmp_path / "damaged.weights.h5")
    with pytest.raises(PromiseError, match="have changed"):
        twin.load_weights(tmp_path / "damaged.weights.h5")
    for each in (twin, other):
        each.fit(IMAGES, LABELS, shuffle=False, verbose=0)
    for one, two in zip(twin.get_weights(), other.get_weights(), strict=True):
        assert one.tobytes() == two.tobytes()


def test_a_packed_file_is_loaded_into_a_network_that_was_training(tmp_path):
    net, _ = in_training()
    twin = copy.deepcopy(net)
    net.prune(0.5)
    train(net)
    net.pack()
    net.save_weights(tmp_path / "packed.weights.h5")
    train(twin)
    twin.load_weights(tmp_path / "packed.weights.h5")
    assert twin.phase == "packed"
    answers = net.predict(IMAGES, verbose=0).tobytes()
    assert twin.predict(IMAGES, verbose=0).tobytes() == answers
    twin.add_task("three", 3)
    train(twin)
    twin.activate("two")
    assert twin.predict(IMAGES, verbose=0).tobytes() == answers
