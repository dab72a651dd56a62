"""What protection costs: PackNet's training step against plain Keras's.

Run with `python benchmarks/train_step.py`; it prints a table and writes
`benchmarks/train_step.json`. Every ratio is of the two steps run in turn, in
one process, on the same batch; beside it stands the same ratio of plain Keras
against itself, which shows what the machine's noise is. Section "Training
steps" of docs/performance.md explains the rows.
"""

import gc
import json
import os
import pathlib
import re
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.timing import in_turn, stepper
from packnet_tf.model.packnet import PackNet
from packnet_tf.networks import build

_PAIRS = flags.DEFINE_integer("pairs", 20, "Interleaved pairs in each row.")
_STEPS = flags.DEFINE_integer(
    "steps", 0, "Training steps timed together; 0 chooses about a second."
)
_ONLY = flags.DEFINE_string(
    "only", "", "Rows of which this regular expression finds a part."
)
_JSON = flags.DEFINE_string(
    "json",
    str(pathlib.Path(__file__).with_suffix(".json")),
    "File for the figures.",
)

# The median may be at most this. The control says how far chance alone goes.
BAR = 1.03
CLASSES = 30


def mobilenet():
    """MobileNet 0.75, the network of the main job."""
    base = keras.applications.MobileNet(
        alpha=0.75, include_top=False, weights=None, input_shape=(96, 96, 3)
    )
    return _pooled(base), 32


def resnet50():
    """ResNet-50 at the size at which a step takes about a second."""
    base = keras.applications.ResNet50(
        include_top=False, weights=None, input_shape=(64, 64, 3)
    )
    return _pooled(base), 32


def vgg16():
    """VGG-16 with fc6 and fc7 in the shared part, as the paper has it."""
    base = keras.applications.VGG16(
        include_top=False, weights=None, input_shape=(96, 96, 3)
    )
    x = keras.layers.Flatten()(base.output)
    for name in ("fc6", "fc7"):
        x = keras.layers.Dense(4096, activation="relu", name=name)(x)
        x = keras.layers.Dropout(0.5, name=f"{name}_dropout")(x)
    return keras.Model(base.input, x), 8


def vit_tiny():
    """ViT-Tiny, whose kernels are those of attention."""
    network = build("vit", image_size=96, weights="none")
    return network.backbone, 32


NETWORKS = {
    "mobilenet": mobilenet,
    "resnet50": resnet50,
    "vgg16": vgg16,
    "vit_tiny": vit_tiny,
}
PHASES = ("train", "retrain", "train 3rd", "retrain 3rd")
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(1e-4, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(1e-5),
    "adamw": lambda: keras.optimizers.AdamW(1e-5, weight_decay=1e-4),
}


def _pooled(base):
    x = keras.layers.GlobalAveragePooling2D()(base.output)
    return keras.Model(base.input, x)


def _plain(backbone, optimizer):
    scores = keras.layers.Dense(CLASSES, activation="softmax")(backbone.output)
    model = keras.Model(backbone.input, scores)
    model.compile(
        optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def _packnet(backbone, optimizer, phase, x, y):
    """A network with packed tasks and one in `phase`.

    One task is packed, or two, of which a third one reads the base alone.
    """
    net = PackNet(backbone)
    net.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    for name in ("base", "second")[: 2 if phase.endswith("3rd") else 1]:
        net.add_task(name, CLASSES)
        net.book.trains_with(net.loss)
        net.prune(0.5)
        net.pack()
    net.add_task("added", CLASSES, reads="base")
    if phase.startswith("retrain"):
        net.book.trains_with(net.loss)
        net.prune(0.75)
    net.compile(
        optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return net


def measure(network, optimizer, phase, pairs, steps):
    """Returns the ratios of one row."""
    rng = np.random.default_rng(0)
    backbone, batch = NETWORKS[network]()
    size = backbone.input_shape[1]
    x = tf.constant(rng.normal(size=(batch, size, size, 3)), tf.float32)
    y = tf.constant(rng.integers(0, CLASSES, batch), tf.int32)
    make = OPTIMIZERS[optimizer]
    runs = {
        "plain": stepper(_plain(backbone, make()), x, y),
        "control": stepper(_plain(NETWORKS[network]()[0], make()), x, y),
        "packnet": stepper(
            _packnet(NETWORKS[network]()[0], make(), phase, x, y), x, y
        ),
    }
    for run in runs.values():
        run(2)
    steps = steps or max(1, round(0.5 / runs["plain"](2)))
    taken = in_turn(runs, steps, pairs)
    ratios = {
        name: (taken[name] / taken["plain"]).tolist()
        for name in ("control", "packnet")
    }
    return {
        "network": network,
        "optimizer": optimizer,
        "phase": phase,
        "batch": batch,
        "image_size": size,
        "pairs": pairs,
        "steps": steps,
        "plain_seconds": float(np.median(taken["plain"])),
        "ratio": float(np.median(ratios["packnet"])),
        "control": float(np.median(ratios["control"])),
        "control_upper_quartile": float(np.quantile(ratios["control"], 0.75)),
        "ratios": ratios,
    }


def main(_):
    rows = []
    print(
        f"{'row':<28} {'step s':>8} {'control':>8} {'upper q':>8} "
        f"{'packnet':>8}"
    )
    for network in NETWORKS:
        for optimizer in OPTIMIZERS:
            for phase in PHASES:
                name = f"{network} {optimizer} {phase}"
                if not re.search(_ONLY.value, name):
                    continue
                row = measure(
                    network, optimizer, phase, _PAIRS.value, _STEPS.value
                )
                row["held"] = row["ratio"] <= BAR
                rows.append(row)
                print(
                    f"{name:<28} {row['plain_seconds']:>8.4f} "
                    f"{row['control']:>8.3f} "
                    f"{row['control_upper_quartile']:>8.3f} "
                    f"{row['ratio']:>8.3f} "
                    f"{'held' if row['held'] else 'MISSED'}",
                    flush=True,
                )
                keras.backend.clear_session()
                gc.collect()
    pathlib.Path(_JSON.value).write_text(json.dumps(rows, indent=1))
    held = sum(row["held"] for row in rows)
    print(f"{held} of {len(rows)} rows are at most {BAR}")


if __name__ == "__main__":
    app.run(main)
