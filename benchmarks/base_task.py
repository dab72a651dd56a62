"""What pruning costs the base task, and what fitting and recovery win back.

  python benchmarks/base_task.py --shared=PATH
  python benchmarks/base_task.py --table

The first prunes MobileNet 0.75 at 96 px by several fractions and measures
ImageNet top-1 on the images of `PATH/data/imagenet_sample`. What stays is
fitted on unlabelled images: of birds, or on every other image of the sample
itself (then the rest of it is measured). Lines are added to
`benchmarks/base_task.jsonl`; the second prints them as a table.
"""

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
from absl import app, flags, logging

from packnet_tf import console
from packnet_tf.data import evaluation, open_task
from packnet_tf.model.freed_memory import keep_freed_memory
from packnet_tf.model.packnet import PackNet
from packnet_tf.model.replicas import make_strategy
from packnet_tf.networks import build
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.task import TaskOptions
from packnet_tf.workflow.base_run import make_base_task
from packnet_tf.workflow.datasets import prepare
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
_TABLE = flags.DEFINE_bool("table", False, "Print the table, run nothing.")
_FILE = pathlib.Path(__file__).with_suffix(".jsonl")
_SIZE = 96


def _built(options: NetworkOptions):
    return build(
        options.network,
        image_size=_SIZE,
        weights=options.weights,
        options=options.network_options,
    )


def _unpruned(network, images) -> float:
    net = PackNet(network.backbone)
    net.add_task("imagenet", network.classes, head=network.head)
    return accuracy(net, images)


def measure(fraction: float, scope: str, fit: str, recovery: str) -> dict:
    """Returns the base task's accuracy after pruning, fit and recovery."""
    shared = _SHARED.value
    options = NetworkOptions(
        network="mobilenet",
        network_options={"alpha": 0.75},
        weights=f"{shared}/weights/mobilenet_0.75_224_imagenet.weights.h5",
        image_size=_SIZE,
        base_prune_fraction=fraction,
        base_scope=scope,
        base_recovery=recovery,
        base_recovery_epochs=_EPOCHS.value,
    )
    # All of the birds: with `--validation_share=0` none is kept back.
    birds = prepare(
        open_task("birds", f"{shared}/data/birds"),
        _SIZE,
        TaskOptions(task="birds", validation_share=0.0),
    )
    sample = open_task("imagenet", f"{shared}/data/imagenet_sample").test
    kind, _, number = fit.partition(":")
    images, measured = None, sample
    if kind == "birds":
        images = training_images(birds, int(number))
    elif kind == "own":
        places = np.arange(len(sample))
        images = evaluation(
            sample.subset(places[::2][: int(number)]), _SIZE, 32
        )
        measured = sample.subset(places[1::2])
    test = evaluation(measured, _SIZE, 32)
    before = _unpruned(_built(options), test)
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
        "fraction": fraction,
        "scope": scope,
        "fit": fit,
        "recovery": recovery,
        "epochs": _EPOCHS.value if recovery != "none" else 0,
        "top1": accuracy(base.net, test),
        "unpruned": before,
        "capacity": base.net.capacity,
        **{name: round(value, 1) for name, value in seconds.items()},
    }


def table() -> str:
    """Returns the recorded figures, one row for each setting."""
    lines = [json.loads(line) for line in _FILE.read_text().splitlines()]
    rows = {}
    for line in lines:
        if "fit" not in line:
            continue  # Of a version that fitted nothing.
        key = (line["fraction"], line["scope"], line["fit"], line["epochs"])
        rows[key] = [
            *(str(part) for part in key),
            f"{line['top1']:.3f}",
            f"{line['unpruned']:.3f}",
            f"{line['top1'] / line['unpruned']:.1%}",
            f"{line['fit_cpu']:.0f} s",
        ]
    head = "fraction scope images distilled top-1 unpruned kept CPU".split()
    return console.table(head, [rows[key] for key in sorted(rows)])


def main(_):
    if _TABLE.value:
        print(table())
        return
    logging.set_verbosity(logging.WARNING)
    keep_freed_memory()
    for fraction in _FRACTIONS.value:
        for scope in _SCOPES.value:
            for fit in _FITS.value:
                for recovery in _RECOVERIES.value:
                    keras.utils.set_random_seed(0)
                    row = measure(float(fraction), scope, fit, recovery)
                    with open(_FILE, "a") as file:
                        file.write(json.dumps(row) + "\n")
                    print(json.dumps(row), flush=True)


if __name__ == "__main__":
    app.run(main)
