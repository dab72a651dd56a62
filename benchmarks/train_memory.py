"""Peak memory of training: PackNet's second task against plain Keras.

  python benchmarks/train_memory.py
  python benchmarks/train_memory.py --networks=mobilenet

The networks are those of `train_step.py`, with Adam. Each runs in a process
of its own: plain Keras is built and trained for some steps, twice; a packed
state is loaded, a task added, trained, pruned and trained again. The peaks of
both trainings, beyond what TensorFlow has at its start, are compared. The table
is printed, and written to `benchmarks/train_memory.json`.
"""

import gc
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import tensorflow as tf
from absl import app, flags

from benchmarks import verdicts
from benchmarks.memory import memory, peak, reset_peak, trim
from benchmarks.trained import (
    CLASSES,
    NETWORKS,
    OPTIMIZERS,
    batch_of,
    compile_with,
    plain,
    prune,
    with_packed,
)
from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir

_NETWORKS = flags.DEFINE_list("networks", [*NETWORKS], "Networks.")
_STEPS = flags.DEFINE_integer("steps", 3, "Steps of each training.")
_ONE = flags.DEFINE_enum(
    "one", None, ["plain", "begin", "added"], "One, in this process."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "The packed state.")
_JSON = flags.DEFINE_string(
    "json",
    str(pathlib.Path(__file__).with_suffix(".json")),
    "File for the figures.",
)

PHASES = ("train", "retrain")
_BAR = 1.10


def peak_of_training(model, x, y) -> int:
    """Compiles and trains a model; returns the most memory that it took."""
    compile_with(model, OPTIMIZERS["adam"]())
    gc.collect()
    trim()
    reset_peak()
    for _ in range(_STEPS.value):
        model.fit(x, y, batch_size=len(x), verbose=0)
    return peak()


def one(kind: str, network: str, workdir: Workdir) -> list[int]:
    """Returns the peaks of one process, less what TensorFlow had."""
    tf.linalg.matmul(tf.ones([64, 64]), tf.ones([64, 64]))
    before = memory()
    if kind == "begin":
        states.commit(workdir, with_packed(NETWORKS[network]()))
        return []
    if kind == "plain":
        model = plain(NETWORKS[network](), "sgd")
        x, y = batch_of(network, model.input_shape[1:])
        return [peak_of_training(model, x, y) - before for _ in PHASES]
    net, _ = states.load(workdir)
    x, y = batch_of(network, net.backbone.input_shape[1:])
    net.add_task("added", CLASSES, reads="base")
    peaks = [peak_of_training(net, x, y) - before]
    prune(net, 0.75)
    return [*peaks, peak_of_training(net, x, y) - before]


def apart(kind: str, network: str, workdir: str) -> list[int]:
    """Returns what `one` does, from a process of its own."""
    done = subprocess.run(
        [
            sys.executable,
            __file__,
            f"--one={kind}",
            f"--networks={network}",
            f"--workdir={workdir}",
            f"--steps={_STEPS.value}",
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def rows_of(network: str) -> list[tuple]:
    """Returns the rows of a network."""
    with tempfile.TemporaryDirectory() as folder:
        apart("begin", network, folder + "/w")
        ours = apart("added", network, folder + "/w")
    theirs = apart("plain", network, folder)
    return [
        (
            f"{network} {phase}: peak memory over plain Keras's "
            f"({plain_peak / 1e6:.0f} MB)",
            our_peak / plain_peak,
            _BAR,
            our_peak <= _BAR * plain_peak,
        )
        for phase, our_peak, plain_peak in zip(
            PHASES, ours, theirs, strict=True
        )
    ]


def main(_):
    if _ONE.value is not None:
        (network,) = _NETWORKS.value
        print(json.dumps(one(_ONE.value, network, Workdir(_WORKDIR.value))))
        return
    rows = [row for network in _NETWORKS.value for row in rows_of(network)]
    verdicts.write(rows, _JSON.value)


if __name__ == "__main__":
    app.run(main)
