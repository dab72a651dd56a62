"""What pruning costs the base task, and what fitting and recovery win back.

  python benchmarks/base_task.py --shared=PATH
  python benchmarks/base_task.py --shared=PATH --networks=resnet50,vgg16_bn
  python benchmarks/base_task.py --table

The first prunes MobileNet 0.75 at 96 px by several fractions and measures
ImageNet top-1 on the images of `PATH/data/imagenet_sample`. What stays is
fitted on unlabelled images: of birds, or on every other image of the sample
itself (then the rest of it is measured). The second does so with networks that
it first trains from scratch at 32 px, on `PATH/data/fashion_mnist.npz`: images
of their own are training images, and all test images are measured. Lines are
added to `benchmarks/base_task.jsonl`; the third prints them as a table.
"""

import dataclasses
import functools
import itertools
import json
import os
import pathlib
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

from benchmarks import mobilenet
from benchmarks.plain import train_plain
from packnet_tf import console
from packnet_tf.data import evaluation, open_task
from packnet_tf.model.freed_memory import keep_freed_memory
from packnet_tf.model.packnet import PackNet
from packnet_tf.model.replicas import make_strategy
from packnet_tf.networks import build
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.task import TaskOptions
from packnet_tf.workflow.base_run import make_base_task
from packnet_tf.workflow.datasets import prepare, prepare_test
from packnet_tf.workflow.fit_images import training_images
from packnet_tf.workflow.metrics import accuracy

_SHARED = flags.DEFINE_string(
    "shared", None, "Folder with data/{birds,imagenet_sample} and weights/."
)
_FRACTIONS = flags.DEFINE_list("fractions", ["0.5", "0.75"], "To prune.")
_SCOPES = flags.DEFINE_list("scopes", ["layer", "global"], "How to rank.")
_FITS = flags.DEFINE_list(
    "fits",
    ["none", "birds:384", "birds:1078", "own:500"],
    "Images to fit on, and how many.",
)
_RECOVERIES = flags.DEFINE_list(
    "recoveries", ["none"], "Then: none, or distill on the birds."
)
_EPOCHS = flags.DEFINE_integer("epochs", 20, "Epochs of recovery.")
_NETWORKS = flags.DEFINE_list(
    "networks",
    ["mobilenet"],
    "mobilenet with ImageNet's weights; any other is trained on Fashion-MNIST.",
)
_TRAINED = flags.DEFINE_string(
    "trained", "runs/trained", "Keeps the networks that are trained here."
)
_TRAIN_EPOCHS = flags.DEFINE_integer(
    "train_epochs", 6, "Epochs of training, where there is none yet.", 2
)
_TRAIN_RATE = flags.DEFINE_float("train_rate", 1e-3, "Its peak rate, by Adam.")
_ONLY_NEW = flags.DEFINE_bool("only_new", False, "Skip what was measured.")
_TABLE = flags.DEFINE_bool("table", False, "Print the table, run nothing.")
_FILE = flags.DEFINE_string(
    "file", str(pathlib.Path(__file__).with_suffix(".jsonl")), "Of the lines."
)
_FASHION = "fashion_mnist"


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A network with weights, before anything is pruned.

    Attributes:
        options: How it is built.
        own: Images of its own kind to fit on, or None.
        test: Images and labels that it is measured on.
        accuracy: Its top-1 on them.
    """

    options: NetworkOptions
    own: tf.data.Dataset | None
    test: tf.data.Dataset
    accuracy: float


def _built(options: NetworkOptions):
    return build(
        options.network,
        image_size=options.image_size,
        weights=options.weights,
        options=options.network_options,
    )


def _accuracy(options: NetworkOptions, images) -> float:
    network = _built(options)
    net = PackNet(network.backbone)
    net.add_task(options.base_task, network.classes, head=network.head)
    return accuracy(net, images)


def _mobilenet(own: int) -> Pretrained:
    shared = _SHARED.value
    options = mobilenet.options_of(shared)
    sample = open_task("imagenet", f"{shared}/data/imagenet_sample").test
    images = None
    if own:
        places = np.arange(len(sample))
        images = evaluation(sample.subset(places[::2][:own]), 96, 32)
        sample = sample.subset(places[1::2])
    test = evaluation(sample, 96, 32)
    return Pretrained(options, images, test, _accuracy(options, test))


def _trained_here(network: str, own: int) -> Pretrained:
    file = pathlib.Path(_TRAINED.value) / f"{network}.keras"
    how = TaskOptions(
        task=_FASHION,
        validation_share=0.0,
        head_start="random",
        # Plain training counts the epochs of both phases as one.
        train_epochs=_TRAIN_EPOCHS.value - 1,
        retrain_epochs=1,
        batch_size=64,
    )
    opened = open_task(_FASHION, f"{_SHARED.value}/data/{_FASHION}.npz")
    data = prepare(opened, 32, how)
    if not file.exists():
        start = time.process_time()
        model = train_plain(
            data,
            how,
            weights="none",
            image_size=32,
            learning_rate=_TRAIN_RATE.value,
            network=network,
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.keras")
        model.save(part)
        part.rename(file)
        print(f"{file}: {time.process_time() - start:.0f} s of CPU", flush=True)
    options = NetworkOptions(
        network=str(file), image_size=32, base_task=_FASHION
    )
    test = prepare_test(opened, 32, how)
    images = training_images(data, own) if own else None
    return Pretrained(options, images, test, _accuracy(options, test))


@functools.cache
def _pretrained(network: str, own: int) -> Pretrained:
    if network == "mobilenet":
        return _mobilenet(own)
    return _trained_here(network, own)


def measure(
    network: str, fraction: float, scope: str, fit: str, recovery: str
) -> dict:
    """Returns the base task's accuracy after pruning, fit and recovery."""
    kind, _, number = fit.partition(":")
    pretrained = _pretrained(network, int(number) if kind == "own" else 0)
    options = dataclasses.replace(
        pretrained.options,
        base_prune_fraction=fraction,
        base_scope=scope,
        base_recovery=recovery,
        base_recovery_epochs=_EPOCHS.value,
    )
    # All of the birds: with `--validation_share=0` none is kept back.
    birds = prepare(
        open_task("birds", f"{_SHARED.value}/data/birds"),
        options.image_size,
        TaskOptions(task="birds", validation_share=0.0),
    )
    images = pretrained.own
    if kind == "birds":
        images = training_images(birds, int(number))
    seconds: dict[str, float] = {}
    prune = PackNet.prune

    def timed(net, *args, **how):
        start = time.monotonic(), time.process_time()
        task = prune(net, *args, **how)
        seconds["fit_wall"] = time.monotonic() - start[0]
        seconds["fit_cpu"] = time.process_time() - start[1]
        return task

    PackNet.prune = timed
    try:
        with tempfile.TemporaryDirectory() as folder:
            base = make_base_task(
                _built(options),
                options,
                birds,
                pathlib.Path(folder),
                make_strategy(1),
                images=images,
                say=lambda _: None,
            )
    finally:
        PackNet.prune = prune
    return {
        "network": network,
        "fraction": fraction,
        "scope": scope,
        "fit": fit,
        "recovery": recovery,
        "epochs": _EPOCHS.value if recovery != "none" else 0,
        "top1": accuracy(base.net, pretrained.test),
        "unpruned": pretrained.accuracy,
        "capacity": base.net.capacity,
        **{name: round(value, 1) for name, value in seconds.items()},
    }


def _measured() -> dict[tuple, dict]:
    """Returns the newest line of each setting."""
    file = pathlib.Path(_FILE.value)
    rows = {}
    for text in file.read_text().splitlines() if file.exists() else ():
        line = json.loads(text)
        if "fit" not in line:
            continue  # Of a version that fitted nothing.
        rows[_key({"network": "mobilenet", **line})] = line
    return rows


def _key(line: dict) -> tuple:
    names = ("network", "fraction", "scope", "fit", "epochs")
    return tuple(line[name] for name in names)


def table() -> str:
    """Returns the recorded figures, one row for each setting."""
    rows = [
        [
            *map(str, key),
            f"{line['top1']:.3f}",
            f"{line['unpruned']:.3f}",
            f"{line['top1'] / line['unpruned']:.1%}",
            f"{line['fit_cpu']:.0f} s",
        ]
        for key, line in sorted(_measured().items())
    ]
    head = (
        "network fraction scope images distilled top-1 unpruned kept CPU"
    ).split()
    return console.table(head, rows)


def main(_):
    if _TABLE.value:
        print(table())
        return
    logging.set_verbosity(logging.WARNING)
    keep_freed_memory()
    done = _measured() if _ONLY_NEW.value else {}
    for settings in itertools.product(
        _NETWORKS.value,
        map(float, _FRACTIONS.value),
        _SCOPES.value,
        _FITS.value,
        _RECOVERIES.value,
    ):
        *first, recovery = settings
        epochs = _EPOCHS.value if recovery != "none" else 0
        if (*first, epochs) in done:
            continue
        keras.utils.set_random_seed(0)
        row = measure(*settings)
        with open(_FILE.value, "a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    app.run(main)
