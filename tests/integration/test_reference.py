"""PackNet beside the paper's procedure, written again in NumPy."""

import keras
import numpy as np
from support.reference import Reference

from packnet_tf.model.packnet import PackNet

RATE = 0.05
BATCH = 16
EPOCHS = 4
# Float32 stays this near to float64 (measured: 1e-7). The seeds are such that
# the last weight that goes is further than twice that from the first one that
# stays (measured: 9e-5 or more), so that the ranks cannot differ.
NEAR = 1e-5
APART = 2 * NEAR


def data_of(task):
    """Images of three classes that differ in their patterns."""
    random = np.random.default_rng(task)
    patterns = random.normal(0, 1, (3, 6, 6, 2))
    labels = random.integers(0, 3, 48)
    noise = random.normal(0, 0.5, (48, 6, 6, 2))
    return (patterns[labels] + noise).astype("float32"), labels


def new_net():
    keras.utils.set_random_seed(1)
    layers = keras.layers
    backbone = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            layers.Conv2D(4, 3, activation="relu", bias_initializer="ones"),
            layers.Flatten(),
            layers.Dense(6, activation="relu", bias_initializer="ones"),
        ]
    )
    return PackNet(backbone, private="frozen")


def train(net, reference, task):
    images, labels = data_of(task)
    net.fit(
        images,
        labels,
        batch_size=BATCH,
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
    )
    for _ in range(EPOCHS):
        for start in range(0, len(images), BATCH):
            batch = slice(start, start + BATCH)
            reference.step(images[batch], labels[batch], RATE)


def compare(net, reference):
    kernels = net.masked_kernels()
    for kernel, values, owners in zip(
        kernels, reference.kernels, reference.owners, strict=True
    ):
        assert np.array_equal(np.asarray(kernel.mask), owners)
        assert np.abs(np.asarray(kernel.variable) - values).max() < NEAR
    head = net.head_of(net.newest.name)
    pairs = [
        *zip(net.private_variables, reference.biases, strict=True),
        (head.kernel, reference.head),
        (head.bias, reference.head_bias),
    ]
    for ours, theirs in pairs:
        assert np.abs(np.asarray(ours) - theirs).max() < NEAR


def test_three_tasks_as_the_paper_has_them():
    net = new_net()
    reference = Reference(
        [np.asarray(k.variable) for k in net.masked_kernels()],
        [np.asarray(v) for v in net.private_variables],
    )
    first = None
    for task, fraction in enumerate((0.5, 0.75, 0.75), 1):
        net.add_task(f"task{task}", 3, origin="zero", seed=task)
        head = net.head_of(f"task{task}")
        reference.begin(np.asarray(head.kernel), np.asarray(head.bias))
        net.compile(
            keras.optimizers.SGD(RATE), "sparse_categorical_crossentropy"
        )
        before = [k.copy() for k in reference.kernels]
        train(net, reference, task)
        compare(net, reference)
        # The task has learnt something that could differ.
        for kernel, was in zip(reference.kernels, before, strict=True):
            assert np.abs(kernel - was).max() > 100 * NEAR
        net.prune(fraction)
        assert min(reference.prune(fraction)) > APART
        compare(net, reference)
        train(net, reference, task)
        compare(net, reference)
        net.pack()
        first = first or net.predict_on_batch(data_of(1)[0]).tobytes()
    net.activate("task1")
    assert net.predict_on_batch(data_of(1)[0]).tobytes() == first
