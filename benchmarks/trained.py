"""The networks whose training is measured, plain and as a `PackNet`."""

import keras
import numpy as np

from packnet_tf.model.packnet import PackNet
from packnet_tf.networks import build

CLASSES = 30


def mobilenet():
    """MobileNet 0.75, the network of the main job."""
    base = keras.applications.MobileNet(
        alpha=0.75, include_top=False, weights=None, input_shape=(96, 96, 3)
    )
    return _pooled(base)


def resnet50():
    """ResNet-50 at the size at which a step takes about a second."""
    base = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(64, 64, 3)
    )
    return _pooled(base)


def vgg16():
    """VGG-16 with fc6 and fc7 in the shared part, as the paper has it."""
    base = keras.applications.VGG16(
        include_top=False, weights=None, input_shape=(96, 96, 3)
    )
    x = keras.layers.Flatten()(base.output)
    for name in ("fc6", "fc7"):
        x = keras.layers.Dense(4096, activation="relu", name=name)(x)
        x = keras.layers.Dropout(0.5, name=f"{name}_dropout")(x)
    return keras.Model(base.input, x)


def vit_tiny():
    """ViT-Tiny, whose kernels are those of attention."""
    network = build("vit", image_size=96, weights="none")
    return network.backbone


NETWORKS = {
    "mobilenet": mobilenet,
    "resnet50": resnet50,
    "vgg16": vgg16,
    "vit_tiny": vit_tiny,
}
# Images of a batch.
BATCHES = {"mobilenet": 32, "resnet50": 32, "vgg16": 8, "vit_tiny": 32}
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(1e-4, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(1e-5),
    "adamw": lambda: keras.optimizers.AdamW(1e-5, weight_decay=1e-4),
}


def _pooled(base):
    x = keras.layers.GlobalAveragePooling2D()(base.output)
    return keras.Model(base.input, x)


def batch_of(network, shape):
    """Returns random images of a shape, and labels, for a network's name."""
    random = np.random.default_rng(0)
    x = random.normal(size=(BATCHES[network], *shape)).astype(np.float32)
    return x, random.integers(0, CLASSES, len(x)).astype(np.int32)


def compile_with(model, optimizer):
    """Compiles a model, and returns it."""
    model.compile(
        optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def plain(backbone, optimizer):
    """Returns a plain model of a backbone and a head."""
    scores = keras.layers.Dense(CLASSES, activation="softmax")(backbone.output)
    return compile_with(keras.Model(backbone.input, scores), optimizer)


def with_packed(backbone, names=("base",)):
    """Returns a network of packed tasks, each pruned by half."""
    net = compile_with(PackNet(backbone), "sgd")
    for name in names:
        net.add_task(name, CLASSES)
        prune(net, 0.5)
        net.pack()
    return net


def prune(net, fraction):
    """Prunes a task as if it had been trained."""
    net.book.trains_with(net.loss)
    net.prune(fraction)


def packnet(backbone, optimizer, phase):
    """A network with packed tasks and one in `phase`.

    One task is packed, or two, of which a third one reads the base alone.
    """
    names = ("base", "second") if phase.endswith("3rd") else ("base",)
    net = with_packed(backbone, names)
    net.add_task("added", CLASSES, reads="base")
    if phase.startswith("retrain"):
        prune(net, 0.75)
    return compile_with(net, optimizer)
