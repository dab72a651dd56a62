"""Sessions of two small tasks, run whole or in pieces, and compared."""

import dataclasses

import keras
import numpy as np

from packnet_tf.model.replicas import make_strategy
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.serving import ServingConfig
from packnet_tf.options.task import TaskOptions
from packnet_tf.storage import checkpoints, states
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.session import Session

SIZE = 16
CNN = NetworkOptions(
    network="cnn",
    network_options={"width": 4, "dropout": 0.2},
    weights="none",
    image_size=SIZE,
)
OPTIONS = TaskOptions(
    task="first",
    train_epochs=2,
    retrain_epochs=3,
    gradual_epochs=2,
    batch_size=8,
    prune_fraction=0.5,
    validation_share=0.2,
)
CLASSES = {
    "first": ("blue", "green", "red"),
    "second": ("dark", "light"),
}


def pretrained(path, **options):
    """Writes a small network with a head; returns its options."""
    layers = keras.layers
    keras.utils.set_random_seed(3)
    keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(6, 3, strides=2, activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2D(8, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, activation="softmax"),
        ]
    ).save(path)
    return NetworkOptions(
        network=str(path), image_size=SIZE, base_task="old", **options
    )


def options_of(task, **changes):
    return dataclasses.replace(OPTIONS, task=task, **changes)


def run(workdir, data, task="first", network=CNN, replicas=1, **changes):
    """Runs a session as a process of its own would, up to its random state."""
    keras.utils.set_random_seed(int.from_bytes(workdir.name.encode()) % 1000)
    session = Session(
        Workdir(workdir), network, ServingConfig(), make_strategy(replicas)
    )
    return session.run(data[task], options_of(task, **changes))


def run_in_pieces(monkeypatch, workdir, data, task, saves=1, **changes):
    """Runs a session that is killed again and again; returns how often.

    Every attempt saves so many checkpoints, and is ended before it saves
    another one.
    """
    save, attempts = checkpoints.save, 0
    while True:
        left = [None] * saves

        def save_some(folder, net, record, left=left):
            if not left:
                raise KeyboardInterrupt
            left.pop()
            save(folder, net, record)

        with monkeypatch.context() as patch:
            patch.setattr(checkpoints, "save", save_some)
            try:
                run(workdir, data, task, **changes)
                return attempts
            except KeyboardInterrupt:
                attempts += 1


def everything(workdir, which=None):
    """Returns all that a packed state holds, as bytes."""
    net, _ = states.load(Workdir(workdir), which)
    found = {
        f"{i} {v.path}": np.asarray(v).tobytes()
        for i, v in enumerate(net.variables)
        # A loaded network draws new seeds for its dropout.
        if "seed_generator" not in v.path
    }
    for task in net.tasks:
        found[f"digest {task.name}"] = task.digest
        for i, value in enumerate(net.private_values(task.name)):
            found[f"private {i} {task.name}"] = value.tobytes()
    assert net.pretrained_kernels is not None
    for i, value in enumerate(net.pretrained_kernels):
        found[f"origin {i}"] = value.tobytes()
    return found


def check_equal(one, other, which=None):
    """Compares a state of two workdirs, byte for byte."""
    ours, theirs = everything(one, which), everything(other, which)
    different = [
        name
        for name in {**ours, **theirs}
        if ours.get(name) != theirs.get(name)
    ]
    assert not different
