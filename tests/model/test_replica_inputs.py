"""Every kind of data on several replicas: all batches, and none but those."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from packnet_tf.model import replicas
from packnet_tf.model.packnet import PackNet

ROWS, BATCH, BATCHES = 24, 8, 3
RANDOM = np.random.default_rng(3)
X = RANDOM.normal(size=(ROWS, 6)).astype("float32")
Y = RANDOM.integers(0, 2, ROWS)


def network():
    keras.utils.set_random_seed(5)
    with replicas.make_strategy(2).scope():
        return PackNet(
            keras.Sequential(
                [
                    keras.Input((6,)),
                    keras.layers.Dense(8),
                    keras.layers.BatchNormalization(),
                    keras.layers.ReLU(),
                ]
            )
        )


def add(net, name, optimizer):
    net.add_task(name, 2)
    net.compile(optimizer, "sparse_categorical_crossentropy")


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return BATCHES

    def __getitem__(self, index):
        rows = slice(index * BATCH, (index + 1) * BATCH)
        return X[rows], Y[rows]


def generator():
    while True:
        for index in range(BATCHES):
            yield Batches()[index]


DATA = {
    "arrays": lambda: ({"x": X, "y": Y, "batch_size": BATCH}),
    "tf.data": lambda: {
        "x": tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH)
    },
    "PyDataset": lambda: {"x": Batches()},
    "generator": lambda: {"x": generator(), "steps_per_epoch": BATCHES},
}


@pytest.mark.parametrize("kind", DATA)
def test_an_epoch_has_as_many_steps_as_batches(kind):
    net = network()
    add(net, "one", keras.optimizers.Adam(0.01))
    history = net.fit(**DATA[kind](), epochs=2, shuffle=False, verbose=0)
    steps = np.asarray(net.optimizer.iterations)
    assert int(steps) == 2 * BATCHES
    assert np.all(np.isfinite(history.history["loss"]))


def test_packed_tasks_keep_their_bytes_with_data_sets():
    net = network()
    for name in ("one", "two"):
        # Muon moves weights under a zero gradient: each is put back.
        add(net, name, keras.optimizers.Muon(0.01))
        net.fit(**DATA["tf.data"](), epochs=2, verbose=0)
        net.prune(0.5)
        net.fit(**DATA["tf.data"](), epochs=2, verbose=0)
        net.pack()
    net.verify_digests()


@pytest.mark.parametrize("rows", [2, 9, 17, 24])
def test_predict_answers_every_row_in_its_order(rows):
    net = network()
    add(net, "one", "adam")
    net.fit(X, Y, batch_size=BATCH, verbose=0)
    found = net.predict(X[:rows], batch_size=BATCH, verbose=0)
    expected = np.asarray(net(X[:rows], training=False))
    assert found.shape == expected.shape
    # Other batch shapes, other roundings.
    assert np.abs(found - expected).max() < 1e-6
