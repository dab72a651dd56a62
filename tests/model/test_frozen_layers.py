"""Frozen layers are not pruned; who owns their weights, and what is left."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.phase_nets import IMAGES, LABELS, net_with, train

from packnet_tf.errors import CapacityError
from packnet_tf.layers import MaskedDense
from packnet_tf.model.packnet import PackNet

layers = keras.layers


def owners(kernel):
    return set(np.unique(np.asarray(kernel.mask)))


def kernel_of(net, name):
    return next(k for k in net.masked_kernels() if k.layer.name == name)


def test_a_layer_frozen_from_the_start_keeps_all_its_weights():
    net = net_with()
    conv = kernel_of(net, "conv")
    conv.layer.trainable = False
    before = np.array(conv.variable)
    net.add_task("one", 3)
    train(net)
    net.prune(0.75)
    train(net)
    net.pack()
    assert np.asarray(conv.variable).tobytes() == before.tobytes()
    assert owners(conv) == {1}
    dense = kernel_of(net, "dense")
    free = int((np.asarray(dense.mask) == 0).sum())
    assert free == round(0.75 * dense.mask.numpy().size)
    # It counts what no later task can have.
    assert net.capacity == free / (before.size + dense.mask.numpy().size)
    net.add_task("two", 3)
    assert owners(conv) == {1} and owners(dense) == {1, 2}


def test_a_layer_frozen_for_a_later_task_keeps_what_that_task_claimed():
    net = net_with("one")
    conv = kernel_of(net, "conv")
    outputs = net.predict(IMAGES, verbose=0).tobytes()
    net.add_task("two", 3, origin="random")
    conv.layer.trainable = False
    before = np.array(conv.variable)
    train(net)
    net.prune_to(0.2)
    net.prune(0.5, scope="global")
    assert np.asarray(conv.variable).tobytes() == before.tobytes()
    assert owners(conv) == {1, 2}
    conv.layer.trainable = True
    train(net)
    assert np.asarray(conv.variable).tobytes() != before.tobytes()
    net.pack()
    net.activate("one")
    assert net.predict(IMAGES, verbose=0).tobytes() == outputs


def test_zeros_in_a_frozen_layer_go_to_later_tasks():
    net = net_with("one")
    conv = kernel_of(net, "conv")
    conv.layer.trainable = False
    net.add_task("two", 3, origin="zero")
    free = int((np.asarray(conv.mask) == 2).sum())
    train(net)
    net.prune(0.5)
    net.pack()
    assert owners(conv) == {0, 1}
    assert int((np.asarray(conv.mask) == 0).sum()) == free


def test_a_frozen_model_inside_the_backbone_is_not_pruned():
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="inner")]
    )
    inner.trainable = False
    net = PackNet(
        keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                inner,
                layers.Flatten(),
                layers.Dense(8, name="dense"),
            ]
        )
    )
    net.add_task("one", 3)
    train(net)
    net.prune(0.5, granularity="filter")
    assert owners(kernel_of(net, "inner")) == {1}
    assert owners(kernel_of(net, "dense")) == {0, 1}


def test_a_network_that_is_frozen_whole_is_not_pruned():
    net = net_with()
    net.backbone.trainable = False
    net.add_task("one", 3)
    train(net)
    with pytest.warns(UserWarning, match="'one' owns weights are frozen"):
        net.prune(0.5)
    net.pack()
    assert net.capacity == 0.0
    with pytest.raises(CapacityError, match="No free weights"):
        net.add_task("two", 3)
    assert np.isfinite(net.evaluate(IMAGES, LABELS, verbose=0)).all()


def test_a_layer_of_which_a_task_has_nothing_left_is_protected():
    net = net_with("one")
    outputs = net.predict(IMAGES, verbose=0).tobytes()
    net.add_task("two", 3, origin="zero")
    conv = kernel_of(net, "conv")
    conv.layer.trainable = False
    train(net)
    net.prune(0.5)
    assert owners(conv) == {0, 1}
    conv.layer.trainable = True
    before = np.array(conv.variable)
    train(net)
    assert np.asarray(conv.variable).tobytes() == before.tobytes()
    net.pack()
    net.activate("one")
    assert net.predict(IMAGES, verbose=0).tobytes() == outputs


@pytest.mark.parametrize("private", ["per_task", "frozen"])
def test_a_normalization_stays_as_frozen_as_its_user_has_it(private, tmp_path):
    net = net_with(private=private)
    norm = net.backbone.get_layer("norm")
    net.add_task("one", 3)
    norm.trainable = False
    before = [np.array(v).tobytes() for v in norm.variables]
    train(net)
    net.prune(0.5)
    train(net)
    net.save(tmp_path / "net.keras")
    assert not norm.trainable
    assert [np.array(v).tobytes() for v in norm.variables] == before
    norm.trainable = True
    net.pack()
    net.add_task("two", 3)
    assert norm.trainable is (private == "per_task")
    net.activate("one")
    assert norm.trainable


def test_a_loop_may_hand_over_kernels_that_are_all_of_other_tasks():
    net = PackNet(
        keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                layers.Flatten(),
                MaskedDense(8, prunable=False, name="whole"),
                MaskedDense(8, name="shared"),
            ]
        )
    )
    for name in ("first", "second"):
        net.add_task(name, 2)
        net.compile("sgd", "sparse_categorical_crossentropy")
        if name == "first":
            train(net)
            net.prune(0.5)
            net.pack()
    variables = [kernel.variable for kernel in net.masked_kernels()]
    net.apply_gradients([tf.ones(v.shape) for v in variables], variables)
    net.verify_digests()
    assert (net.masked_kernels()[1].value != 0).any()
