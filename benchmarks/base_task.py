"""What pruning costs the base task, and what recovery wins back.

  python benchmarks/base_task.py --shared=PATH

prunes MobileNet 0.75 by several fractions, recovers it by distilling on the
unlabelled birds, and prints ImageNet top-1 on the images of
`PATH/data/imagenet_sample` before and after. Lines are added to
`benchmarks/base_task.jsonl`.
"""

import json
import os
import pathlib
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from absl import app, flags, logging

from packnet_tf.data import evaluation, open_task
from packnet_tf.model.freed_memory import keep_freed_memory
from packnet_tf.model.replicas import make_strategy
from packnet_tf.networks import build
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.task import TaskOptions
from packnet_tf.workflow.base_run import make_base_task
from packnet_tf.workflow.datasets import prepare
from packnet_tf.workflow.metrics import accuracy

_SHARED = flags.DEFINE_string(
    "shared", None, "Folder with data/{birds,imagenet_sample} and weights/."
)
_FRACTIONS = flags.DEFINE_list("fractions", ["0.5", "0.75"], "To prune.")
_EPOCHS = flags.DEFINE_integer("epochs", 10, "Epochs of recovery.")
_FILE = pathlib.Path(__file__).with_suffix(".jsonl")
_SIZE = 96


def measure(fraction: float, recovery: str) -> dict:
    """Returns the base task's accuracy after pruning and recovery."""
    shared = _SHARED.value
    options = NetworkOptions(
        network="mobilenet",
        network_options={"alpha": 0.75},
        weights=f"{shared}/weights/mobilenet_0.75_224_imagenet.weights.h5",
        image_size=_SIZE,
        base_prune_fraction=fraction,
        base_recovery=recovery,
        base_recovery_epochs=_EPOCHS.value,
    )
    start = time.monotonic()
    network = build(
        options.network,
        image_size=_SIZE,
        weights=options.weights,
        options=options.network_options,
    )
    birds = prepare(
        open_task("birds", f"{shared}/data/birds"),
        _SIZE,
        TaskOptions(task="birds"),
    )
    strategy = make_strategy(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        base = make_base_task(
            network,
            options,
            birds,
            pathlib.Path(folder),
            strategy,
            say=lambda _: None,
        )
    sample = open_task("imagenet", f"{shared}/data/imagenet_sample")
    top1 = accuracy(base.net, evaluation(sample.test, _SIZE, 32))
    return {
        "fraction": fraction,
        "recovery": recovery,
        "epochs": _EPOCHS.value if recovery != "none" else 0,
        "top1": top1,
        "minutes": (time.monotonic() - start) / 60,
    }


def main(_):
    logging.set_verbosity(logging.WARNING)
    for fraction in _FRACTIONS.value:
        for recovery in ("none", "distill"):
            row = measure(float(fraction), recovery)
            with open(_FILE, "a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    app.run(main)
