"""Every way to prune keeps the promise: packed tasks answer the same bytes."""

import itertools

import keras
import numpy as np
import pytest

from packnet_tf.errors import PackNetError
from packnet_tf.masks import ownership
from packnet_tf.masks.pruning import GRANULARITIES, SCOPES, prune_count
from packnet_tf.model.packnet import PackNet
from packnet_tf.options import fractions

RNG = np.random.default_rng(3)
IMAGES = RNG.uniform(-1, 1, (16, 6, 6, 2)).astype("float32")
LABELS = RNG.integers(0, 2, 16)
FRACTION = 0.5
GRADUAL_STEPS = 2


def new_net():
    """A network with kernels whose channels lie in different axes."""
    keras.utils.set_random_seed(4)
    layers = keras.layers
    return PackNet(
        keras.Sequential(
            [
                keras.Input((6, 6, 2)),
                layers.Conv2D(8, 3, activation="relu"),
                layers.BatchNormalization(),
                layers.DepthwiseConv2D(3),
                layers.Reshape((4, 8)),
                layers.EinsumDense("abc,cde->abde", (4, 3, 2)),
                layers.Flatten(),
                layers.Dense(6, activation="relu"),
            ]
        ),
        depthwise="masked",
    )


def train(net):
    for _ in range(2):
        net.train_on_batch(IMAGES, LABELS)


def prune(net, scope, granularity, gradual):
    """Prunes and retrains, at once or in steps."""
    if not gradual:
        net.prune(FRACTION, scope=scope, granularity=granularity)
        train(net)
        return
    for fraction in fractions.gradual_fractions(FRACTION, GRADUAL_STEPS):
        net.prune_to(fraction, scope=scope, granularity=granularity)
        train(net)


def channels(net, owners):
    """Returns for each kernel in how many channels these owners are."""
    found = []
    for kernel in net.masked_kernels():
        if kernel.prunable:
            its = np.isin(np.asarray(kernel.mask), owners)
            axes = {axis % its.ndim for axis in kernel.channel_axes}
            others = tuple(a for a in range(its.ndim) if a not in axes)
            found.append(int(its.any(axis=others).sum()))
    return found


def weights(net, owners):
    """Returns for each kernel how many weights these owners have."""
    return [
        int(np.isin(np.asarray(kernel.mask), owners).sum())
        for kernel in net.masked_kernels()
        if kernel.prunable
    ]


@pytest.mark.parametrize(
    "granularity, scope, gradual",
    itertools.product(GRANULARITIES, SCOPES, (False, True)),
)
def test_packed_tasks_answer_the_same_bytes(granularity, scope, gradual):
    net = new_net()
    outputs = {}
    count = channels if granularity == "filter" else weights
    for owner, name in enumerate(("one", "two", "three"), 1):
        net.add_task(name, 2)
        # Momentum moves weights under zero gradients, if slots are stale.
        net.compile(
            keras.optimizers.SGD(0.1, momentum=0.9),
            "sparse_categorical_crossentropy",
        )
        train(net)
        claimed = count(net, (owner,))
        prune(net, scope, granularity, gradual)
        kept = count(net, (owner,))
        assert all(map(bool, kept)) == all(map(bool, claimed))
        if scope == "layer":
            assert kept == [n - prune_count(n, FRACTION) for n in claimed]
        else:
            assert sum(kept) == sum(claimed) - round(FRACTION * sum(claimed))
        for kernel in net.masked_kernels():
            mask = np.asarray(kernel.mask)
            free = np.asarray(kernel.variable)[mask == ownership.FREE]
            assert not free.any() and not np.signbit(free).any()
        net.pack()
        outputs[name] = net.predict_on_batch(IMAGES).tobytes()
        for older in outputs:
            net.activate(older)
            assert net.predict_on_batch(IMAGES).tobytes() == outputs[older]
        net.activate(name)
    assert len(set(outputs.values())) == 3
    net.verify_digests()


def test_whole_channels_of_the_first_task_are_free():
    net = new_net()
    net.add_task("one", 2)
    net.compile("sgd", "sparse_categorical_crossentropy")
    train(net)
    net.prune(0.5, granularity="filter")
    conv = net.masked_kernels()[0]
    mask = np.asarray(conv.mask).reshape(-1, 8)
    assert sorted(mask.min(0).tolist()) == [0] * 4 + [1] * 4
    assert (mask.min(0) == mask.max(0)).all()
    # Depthwise kernels are not pruned by default.
    assert np.asarray(net.masked_kernels()[1].mask).all()


@pytest.mark.parametrize(
    "wrong, match",
    [
        ({"scope": "filter"}, "scope='filter'.*layer, global"),
        ({"granularity": "layer"}, "granularity='layer'.*weight, filter"),
        ({"fraction": 1.0}, "between 0 and 1"),
    ],
)
def test_nothing_is_pruned_by_a_wrong_argument(wrong, match):
    net = new_net()
    net.add_task("one", 2)
    net.compile("sgd", "sparse_categorical_crossentropy")
    train(net)
    for step in (net.prune, net.prune_to):
        with pytest.raises(PackNetError, match=match):
            step(**{"fraction": 0.5, **wrong})
    assert net.phase == "train" and net.capacity == 0.0


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_a_diverged_kernel_is_named_and_nothing_is_pruned(granularity):
    net = new_net()
    net.add_task("one", 2)
    net.compile("sgd", "sparse_categorical_crossentropy")
    train(net)
    last = net.masked_kernels()[-1]
    values = np.array(last.variable)
    values[0, 0] = np.nan
    last.variable.assign(values)
    with pytest.raises(PackNetError, match=f"{last.path} holds NaN"):
        net.prune(0.5, granularity=granularity)
    assert net.phase == "train" and net.capacity == 0.0
