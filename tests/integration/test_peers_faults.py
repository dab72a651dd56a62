"""Faults known from other implementations of the method: none occurs here.

Those that other tests cover as well as could be are not repeated here.
"""

import keras
import numpy as np
import pytest

from packnet_tf import extract
from packnet_tf.layers import Masked
from packnet_tf.masks import pruning
from packnet_tf.model.packnet import PackNet

RNG = np.random.default_rng(5)
ROWS = RNG.normal(0, 1, (32, 6)).astype("float32")
LABELS = RNG.integers(0, 3, 32)
layers = keras.layers


def new_net(backbone=None, **kwargs):
    keras.utils.set_random_seed(6)
    if backbone is None:
        backbone = [
            layers.Dense(12, activation="relu"),
            layers.BatchNormalization(),
            layers.Dense(8, activation="relu"),
        ]
    return PackNet(keras.Sequential([keras.Input((6,)), *backbone]), **kwargs)


def train(net, steps=3):
    for _ in range(steps):
        net.train_on_batch(ROWS, LABELS)


def add(net, name, prune=0.5, **kwargs):
    """Adds a task, trains it and packs it; returns its answers."""
    net.add_task(name, 3, **kwargs)
    net.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        "sparse_categorical_crossentropy",
    )
    train(net)
    if prune:
        net.prune(prune)
        train(net)
    net.pack()
    return answers(net)


def answers(net):
    return net.predict_on_batch(ROWS).tobytes()


# Layers without a bias raised an error, as their missing bias was masked.
def test_layers_without_a_bias():
    net = new_net(
        [
            layers.Dense(16, use_bias=False, activation="relu"),
            layers.Reshape((4, 4, 1)),
            layers.Conv2D(4, 3, use_bias=False, activation="relu"),
            layers.DepthwiseConv2D(2, use_bias=False),
            layers.Reshape((4,)),
            layers.EinsumDense("ab,bc->ac", 5),
        ]
    )
    assert net.private_variables and len(net.masked_kernels()) == 3
    first = add(net, "one")
    add(net, "two")
    net.activate("one")
    assert answers(net) == first


# Transposed convolutions of one and three dimensions called the function for
# two.
@pytest.mark.parametrize(
    "stock, rank",
    [
        (layers.Conv1DTranspose, 1),
        (layers.Conv2DTranspose, 2),
        (layers.Conv3DTranspose, 3),
    ],
)
def test_transposed_convolutions_of_every_rank(stock, rank):
    twin = type("Twin", (Masked, stock), {})
    inputs = RNG.normal(0, 1, (2, *[4] * rank, 3)).astype("float32")
    plain, masked = stock(5, 3), twin(5, 3)
    expected = plain(inputs)
    masked(inputs)
    for ours, theirs in zip(
        (masked._kernel, masked.bias), plain.weights, strict=True
    ):
        ours.assign(theirs)
    masked.mask.assign(np.ones(masked.mask.shape, np.uint8))
    masked.view_task = 1
    assert (
        np.asarray(masked(inputs)).tobytes() == np.asarray(expected).tobytes()
    )


# Pruned weights were hidden but kept their values, and the next task started
# from them.
def test_pruned_weights_are_zero_for_the_next_task():
    net = new_net()
    add(net, "one")
    for kernel in net.masked_kernels():
        free = np.asarray(kernel.variable)[np.asarray(kernel.mask) == 0]
        assert free.size and free.tobytes() == np.zeros_like(free).tobytes()
    net.add_task("two", 3, origin="zero")
    for kernel in net.masked_kernels():
        own = np.asarray(kernel.variable)[np.asarray(kernel.mask) == 2]
        assert own.tobytes() == np.zeros_like(own).tobytes()


# The optimizer kept the momentum of the phase before, which moves weights
# whose gradients are 0.
def test_every_phase_has_a_fresh_optimizer():
    net = new_net()

    def slots():
        if not net.optimizer.built:
            return []
        learning_rate = net.optimizer._learning_rate
        return [
            np.asarray(v)
            for v in net.optimizer.variables
            if v is not learning_rate
        ]

    def fresh():
        return not any(np.any(slot) for slot in slots())

    for name in ("one", "two"):
        net.add_task(name, 3)
        net.compile(
            keras.optimizers.SGD(0.1, momentum=0.9),
            "sparse_categorical_crossentropy",
        )
        assert fresh()
        train(net)
        assert not fresh() and len(slots()) > 1
        net.prune(0.5)
        assert fresh()
        train(net)
        assert not fresh()
        net.pack()
        assert fresh()


# Looking at an older task zeroed weights in place, so that the network in
# memory was of no use for later tasks.
def test_looking_at_an_older_task_changes_no_weight():
    net = new_net()
    for name in ("one", "two"):
        add(net, name)
    net.add_task("three", 3)
    net.compile("sgd", "sparse_categorical_crossentropy")
    train(net)

    def weights():
        return [np.asarray(v).tobytes() for v in net.backbone.variables]

    before = weights()
    for name in ("one", "two"):
        net.activate(name)
        net.evaluate(ROWS, LABELS, verbose=0)
    net.activate("three")
    assert weights() == before


# Normalization went on following the data of later tasks.
@pytest.mark.parametrize("private", ["per_task", "frozen"])
def test_statistics_of_older_tasks_stand_still(private):
    net = new_net(private=private)
    first = add(net, "one")
    before = [v.tobytes() for v in net.private_values("one")]
    net.add_task("two", 3)
    net.compile("sgd", "sparse_categorical_crossentropy")
    # Far from what the first task saw.
    net.fit(ROWS * 100 + 50, LABELS, epochs=2, verbose=0)
    net.evaluate(ROWS, LABELS, verbose=0)
    assert [v.tobytes() for v in net.private_values("one")] == before
    net.activate("one")
    assert answers(net) == first
    normalization = net.backbone.layers[1]
    moving = np.asarray(normalization.moving_mean)
    assert moving.any() and np.abs(moving).max() < 10


# A library function for quantiles refused, and float32 ranks miscounted,
# kernels of more than 2 ** 24 weights.
def test_kernels_of_more_weights_than_float32_counts():
    size = 2**24 + 3
    kernel = np.random.default_rng(0).standard_normal(size, np.float32)
    (mask,) = pruning.prune_masks([kernel], [np.ones(size, np.uint8)], 1, 0.75)
    assert np.count_nonzero(mask == 0) == round(0.75 * size)
    kernel = np.abs(kernel)
    assert kernel[mask == 0].max() <= kernel[mask == 1].min()


# All weights at the magnitude of the cut went, which is all there are if they
# are equal.
@pytest.mark.parametrize("scope", pruning.SCOPES)
@pytest.mark.parametrize("granularity", pruning.GRANULARITIES)
def test_equal_weights_are_not_pruned_all_at_once(scope, granularity):
    net = new_net()
    net.add_task("one", 3)
    net.compile("sgd", "sparse_categorical_crossentropy")
    train(net, 1)
    for kernel in net.masked_kernels():
        kernel.variable.assign(np.full(kernel.variable.shape, 0.25))
    net.prune(0.5, scope=scope, granularity=granularity)
    total = free = 0
    for kernel in net.masked_kernels():
        mask = np.asarray(kernel.mask)
        assert mask.any()
        if granularity == "filter":
            mask = mask.max(0)
        total, free = total + mask.size, free + int((mask == 0).sum())
    assert free == total / 2


# A share too small for a single weight asked for the element of rank 0.
@pytest.mark.parametrize("granularity", pruning.GRANULARITIES)
def test_a_share_of_less_than_one_weight_frees_none(granularity):
    kernels, masks = [np.arange(9.0)], [np.ones(9, np.uint8)]
    for scope in pruning.SCOPES:
        (mask,) = pruning.prune_masks(
            kernels, masks, 1, 0.01, scope=scope, granularity=granularity
        )
        assert mask.all()


# Masks were found again by the places of their layers, and heads by their
# sizes: other layers before them, or equal sizes, mixed them up.
def test_masks_and_heads_of_equal_shapes_stay_apart(tmp_path):
    square = [layers.Dense(6, activation="relu") for _ in range(3)]
    net = new_net(square)
    outputs = {name: add(net, name) for name in ("one", "two")}
    masks = [np.asarray(k.mask).tobytes() for k in net.masked_kernels()]
    assert len(set(masks)) == 3 and len(set(outputs.values())) == 2
    net.activate("one")
    net.save(tmp_path / "net.keras")
    # Layers made in between take other automatic names.
    layers.Dense(6)
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    assert [
        np.asarray(k.mask).tobytes() for k in loaded.masked_kernels()
    ] == masks
    for name, before in outputs.items():
        loaded.activate(name)
        assert answers(loaded) == before
        plain = extract(loaded, name)
        head = plain.get_layer(index=-1)
        while not head.weights:
            head = plain.layers[plain.layers.index(head) - 1]
        assert np.array_equal(
            np.asarray(head.weights[0]),
            np.asarray(net.head_of(name).kernel),
        )


# A byte or more a weight and task was stored for the masks, and the pruned
# file was no smaller for all that.
def test_a_file_of_three_tasks_is_about_as_large_as_one_network(tmp_path):
    wide = [layers.Dense(300, activation="relu") for _ in range(3)]
    net = new_net(wide)
    for name in ("one", "two", "three"):
        net.add_task(name, 3, origin="random")
        net.newest.trained = True
        net.prune(0.5)
        net.pack()
    net.save(tmp_path / "net.keras")
    extract(net, "three").save(tmp_path / "plain.keras")
    weights = sum(k.variable.shape.num_elements() for k in net.masked_kernels())
    packed = (tmp_path / "net.keras").stat().st_size
    plain = (tmp_path / "plain.keras").stat().st_size
    # Two bits a weight for the masks, and biases and heads of three tasks.
    assert packed - plain < weights / 4 + 50_000
