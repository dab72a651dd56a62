"""A small network that goes through phases on random images."""

import keras
import numpy as np

from packnet_tf.model.packnet import PackNet

RNG = np.random.default_rng(11)
IMAGES = RNG.uniform(0, 255, (32, 8, 8, 3)).astype("float32")
LABELS = RNG.integers(0, 3, 32)


def backbone():
    return keras.Sequential(
        [
            keras.layers.Input((8, 8, 3)),
            keras.layers.Rescaling(1 / 127.5, -1.0),
            keras.layers.Conv2D(6, 3, name="conv"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.ReLU(),
            keras.layers.DepthwiseConv2D(3, name="depthwise"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10, activation="relu", name="dense"),
        ]
    )


def net_with(*packed, private="per_task", fraction=0.5):
    """Returns a network with packed tasks of these names."""
    keras.utils.set_random_seed(2)
    net = PackNet(backbone(), private=private)
    for name in packed:
        net.add_task(name, 3)
        train(net)
        net.prune(fraction)
        train(net)
        net.pack()
    return net


def train(net, epochs=1):
    if not net.compiled:
        net.compile(
            keras.optimizers.Adam(0.01),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
    return net.fit(IMAGES, LABELS % 2, epochs=epochs, verbose=0)
