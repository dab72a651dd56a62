"""A small network on blobs of points, of which each task has its own."""

import keras
import numpy as np

import packnet_tf as pn


def blobs(seed, classes=3, rows=200):
    """Returns points around a centre a class, and their classes."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, 16)) * 2
    labels = random.integers(0, classes, rows)
    points = centres[labels] + random.normal(size=(rows, 16))
    return points.astype("float32"), labels


A, A_LABELS = blobs(11)
# Far away: with private variables of another task, answers are far off.
B, B_LABELS = blobs(12)
B = B * 8 + 20


def backbone():
    return keras.Sequential(
        [
            keras.Input((16,)),
            keras.layers.Dense(32, use_bias=False),
            keras.layers.BatchNormalization(momentum=0.5),
            keras.layers.ReLU(),
        ]
    )


def new_net():
    keras.utils.set_random_seed(3)
    return pn.PackNet(backbone())


def begin(net, name, x=None, y=None, classes=3, **compiled):
    """Adds a task and trains it."""
    net.add_task(name, classes)
    compiled = {"metrics": ["accuracy"]} | compiled
    net.compile(
        keras.optimizers.Adam(0.01),
        "sparse_categorical_crossentropy",
        **compiled,
    )
    if x is not None:
        net.fit(x, y, epochs=2, verbose=0)


def pack(net, name, x, y, **options):
    """Adds a task, trains it and packs it."""
    begin(net, name, x, y, **options)
    net.prune(0.5)
    net.fit(x, y, verbose=0)
    net.pack()


def two_tasks():
    net = new_net()
    pack(net, "a", A, A_LABELS)
    pack(net, "b", B, B_LABELS)
    return net


def answers(net):
    """Returns what the network of `two_tasks` predicts, by task."""
    found = {}
    for name, x in (("a", A), ("b", B)):
        net.activate(name)
        found[name] = net.predict(x, verbose=0)
    return found


def scores(net, x=A):
    """Returns the bytes of what a network, or a Keras model, predicts."""
    return np.asarray(net.predict(x, verbose=0)).tobytes()
