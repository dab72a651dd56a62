"""Tiny packed networks for the tests of states and serving."""

import shutil

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.model.packnet import PackNet
from packnet_tf.options.serving import ServingConfig
from packnet_tf.serving.versions import publish
from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir

SIZE = 12
FEATURES = 10


def images(count=5, size=SIZE, seed=0):
    """Returns pixels 0 to 255, float32."""
    random = np.random.default_rng(seed)
    return random.uniform(0, 255, (count, size, size, 3)).astype("float32")


def backbone(size=SIZE, dtype=None):
    """A network with every kind of variable that a packed state holds."""
    adapted = keras.layers.Normalization(dtype=dtype)
    adapted.adapt(images(seed=9))
    layers = keras.layers
    inputs = keras.Input((size, size, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1, dtype=dtype)(adapted(inputs))
    x = layers.Conv2D(8, 3, use_bias=False, dtype=dtype)(x)
    x = layers.BatchNormalization(dtype=dtype)(x)
    x = layers.ReLU(dtype=dtype)(x)
    x = layers.DepthwiseConv2D(3, dtype=dtype)(x)
    x = layers.Conv2D(12, 3, activation="relu", dtype=dtype)(x)
    x = layers.GlobalAveragePooling2D(dtype=dtype)(x)
    x = layers.Dense(FEATURES, activation="relu", dtype=dtype)(x)
    return keras.Model(inputs, x)


def add_packed(net, name, classes=3, seed=0, prune=True, head=None, **kwargs):
    """Adds a task that differs from the others, and packs it."""
    random = np.random.default_rng(seed + 100 * len(net.tasks))
    if classes and head is None:
        head = keras.layers.Dense(classes)
        head.build((None, net.feature_count()))
        head.kernel.assign(random.normal(size=head.kernel.shape))
    net.add_task(name, classes, head=head, origin="random", seed=7, **kwargs)
    if net.private == "per_task" or len(net.tasks) == 1:
        for variable in net.private_variables:
            noise = np.abs(random.normal(size=variable.shape)) * 0.1
            variable.assign(np.asarray(variable) + noise)
    if prune:
        net.prune(0.5)
    net.pack()


def packed_net(names=("a", "b", "c"), seed=0, strategy=None, **kwargs):
    """Returns a network with packed tasks of 3 classes."""
    keras.utils.set_random_seed(seed)
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        net = PackNet(backbone(), **kwargs)
    for name in names:
        add_packed(net, name, seed=seed)
    return net


def graph_logits(net, task, batch):
    """Returns a task's logits from a `tf.function`, as bytes are promised."""
    net.activate(task)
    program = tf.function(
        lambda x: net.logits(x, training=False), autograph=False
    )
    return program.get_concrete_function(
        tf.TensorSpec(batch.shape, tf.float32)
    )(tf.constant(batch)).numpy()


def packed_workdir(folder, names, net=None, probe_images=None, serve=None):
    """Returns a workdir with a packed state for each of some tasks.

    Args:
        folder: The workdir's folder.
        names: The tasks' names, in order.
        net: A network without tasks; a tiny one by default.
        probe_images: Images that each state keeps.
        serve: The states that are published, by name; all by default.
    """
    workdir = Workdir(folder)
    net = packed_net(()) if net is None else net
    for name in names:
        add_packed(net, name)
        state = states.commit(workdir, net, probe_images=probe_images)
        if serve is None or name in serve:
            publish(workdir, state, ServingConfig("net"))
    return workdir


def copy_of(workdir, folder):
    """Returns a copy of a workdir, for a test to do with what it wants."""
    shutil.copytree(workdir.path, folder)
    return Workdir(folder)
