"""The paper's VGG-16 with four tasks: files, seconds and memory of each step.

  python benchmarks/network_size.py

VGG-16 at 224 pixels, fc6 and fc7 among the shared weights, gets a base task
of 1,000 classes and three more, in three processes, as the apps would do it:
one begins the network with three tasks; one loads it, adds the fourth, trains
it on a batch with Adam, so that its slots exist, and commits; one loads and
exports. The packed state is held against the paper's size, the seconds of a
commit against a plain `model.save` (the best of three each), and the memory of
every step, beyond what TensorFlow itself had, against that of the network and
the slots. Once for float32 and once for 16 bits, and once for one plain Keras
network, which is built, trained, saved and loaded. The weights are random,
which changes no size. The table is printed, and written to
`benchmarks/network_size.json`.
"""

import gc
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import verdicts
from benchmarks.memory import memory, peak, reset_peak, trim
from packnet_tf.model.packnet import PackNet
from packnet_tf.options.network import PRECISIONS
from packnet_tf.serving.saved_model import export_saved_model
from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.report import size_of

_STAGES = ("plain", "begin", "session", "serve")
_ONLY = flags.DEFINE_enum("only", None, _STAGES, "One, in this process.")
_PRECISION = flags.DEFINE_enum(
    "packed_precision", PRECISIONS[0], PRECISIONS, "Of the network."
)
_SIZE = flags.DEFINE_integer("image_size", 224, "Pixels.", lower_bound=32)
_WIDTH = flags.DEFINE_integer("width", 4096, "Outputs of fc6 and fc7.")
_BATCH = flags.DEFINE_integer("batch_size", 2, "Images of the one step.")
_FOLDER = flags.DEFINE_string("folder", None, "Where files are written.")
_JSON = flags.DEFINE_string(
    "json",
    str(pathlib.Path(__file__).with_suffix(".json")),
    "File for the figures.",
)

_CLASSES = {"base": 1000, "birds": 200, "cars": 196, "flowers": 102}
# MB of the state, unrounded and in 16 bits; seconds of a commit over those of
# `model.save`; memory over the network's and the slots'.
_STATE, _STATE_16, _COMMIT, _MEMORY = 592.0, 300.0, 2.0, 1.5
# How often what takes a second or so is done.
_TIMES = 3

Row = tuple[str, float, float]


def backbone() -> keras.Model:
    """Returns VGG-16 below its head."""
    size = _SIZE.value
    base = keras.applications.VGG16(
        include_top=False, weights=None, input_shape=(size, size, 3)
    )
    x = keras.layers.Flatten()(base.output)
    for name in ("fc6", "fc7"):
        x = keras.layers.Dense(_WIDTH.value, activation="relu", name=name)(x)
    return keras.Model(base.input, x)


class _Steps:
    """Runs steps one by one; keeps the memory and seconds of each."""

    def __init__(self) -> None:
        self._before = memory()
        self.peaks: dict[str, int] = {}
        self.seconds: dict[str, float] = {}
        self.whole = 0

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        gc.collect()
        trim()
        reset_peak()
        start = time.perf_counter()
        made = work()
        seconds = time.perf_counter() - start
        self.seconds[name] = min(seconds, self.seconds.get(name, seconds))
        most = peak() - self._before
        self.peaks[name] = max(most, self.peaks.get(name, 0))
        print(f"  {name}: {most / 1e6:.0f} MB, {seconds:.1f} s")
        sys.stdout.flush()
        return made


def _begin(net: PackNet, name: str) -> None:
    # With a head that is given, a task counts as trained.
    head = keras.layers.Dense(_CLASSES[name])
    head.build((None, _WIDTH.value))
    net.add_task(name, _CLASSES[name], head=head)


def _fit(net: keras.Model) -> int:
    """Trains on a batch; returns the bytes of the network and the slots."""
    random = np.random.default_rng(0)
    size, batch = _SIZE.value, _BATCH.value
    x = random.uniform(0, 255, (batch, size, size, 3)).astype(np.float32)
    net.compile(keras.optimizers.Adam(1e-6), "sparse_categorical_crossentropy")
    net.fit(x, random.integers(0, 2, batch), batch_size=batch, verbose=0)
    variables = [*net.weights, *net.optimizer.variables]
    return sum(v.value.numpy().nbytes for v in variables)


def _add(steps: _Steps, net: PackNet, name: str, trained: bool) -> None:
    """Adds a task and packs it."""
    steps.run("add", lambda: _begin(net, name))
    if trained:
        steps.whole = steps.run("fit", lambda: _fit(net))
    steps.run("prune", lambda: net.prune(0.5))
    steps.run("pack", net.pack)


def begin(steps: _Steps, folder: pathlib.Path) -> list[Row]:
    """Makes a network of three tasks."""
    net = PackNet(backbone(), packed_precision=_PRECISION.value)
    for name in [*_CLASSES][:-1]:
        _add(steps, net, name, trained=False)
    path = folder / "net"

    def commit():
        shutil.rmtree(path, ignore_errors=True)
        return states.commit(Workdir(path), net)

    return [_beside_save(steps, "the first commit", commit, folder)]


def _beside_save(
    steps: _Steps, what: str, commit: Callable[[], Any], folder: pathlib.Path
) -> Row:
    """Returns the seconds of a commit over those of a plain `model.save`."""
    path = folder / "plain.keras"
    for _ in range(_TIMES):
        steps.run("commit", commit)
    model = plain()
    for _ in range(_TIMES):
        path.unlink(missing_ok=True)
        steps.run("plain save", lambda: model.save(path))
    save = steps.seconds["plain save"]
    return (
        f"{_PRECISION.value}: seconds of {what} over model.save ({save:.1f} s)",
        steps.seconds["commit"] / save,
        _COMMIT,
    )


def session(steps: _Steps, folder: pathlib.Path) -> list[Row]:
    """Adds the fourth task to it, as `add_task.py` does."""
    workdir = Workdir(folder / "net")
    net, before = steps.run("load", lambda: states.load(workdir))
    _add(steps, net, [*_CLASSES][-1], trained=True)

    def commit():
        if (newest := workdir.newest()) != before:
            shutil.rmtree(newest.path)
        return states.commit(workdir, net)

    seconds = _beside_save(steps, "a later commit", commit, folder)
    state, precision = workdir.newest(), _PRECISION.value
    return [
        (
            f"{precision}: packed state, MB",
            size_of(state.path) / 1e6,
            _STATE if precision == PRECISIONS[0] else _STATE_16,
        ),
        seconds,
    ]


def serve(steps: _Steps, folder: pathlib.Path) -> list[Row]:
    """Loads the state and exports it."""
    path = folder / "served"
    net, _ = steps.run(
        "load", lambda: states.load(Workdir(folder / "net"), origin=False)
    )
    steps.run("export", lambda: export_saved_model(net, path))
    print(f"  SavedModel {size_of(path) / 1e6:.0f} MB", flush=True)
    return []


def plain() -> keras.Model:
    """Returns one plain network with a head."""
    below = backbone()
    head = keras.layers.Dense(_CLASSES["base"])
    return keras.Model(below.input, head(below.output))


def alone(steps: _Steps, folder: pathlib.Path) -> list[Row]:
    """Saves and trains a plain network, and loads it after that."""
    path = folder / "plain.keras"

    def train() -> int:
        model = steps.run("build", plain)
        steps.run("save", lambda: model.save(path))
        return steps.run("fit", lambda: _fit(model))

    steps.whole = train()
    steps.run("load", lambda: keras.saving.load_model(path))
    print(f"  the .keras file {path.stat().st_size / 1e6:.0f} MB", flush=True)
    return []


def measured(stage: str, folder: pathlib.Path) -> dict[str, Any]:
    """Runs a stage; returns its rows, peaks, and bytes of network and slots."""
    # TensorFlow starts before anything is counted.
    tf.linalg.matmul(tf.ones([64, 64]), tf.ones([64, 64]))
    steps = _Steps()
    work = dict(zip(_STAGES, (alone, begin, session, serve), strict=True))
    rows = work[stage](steps, folder)
    peaks = {k: v for k, v in steps.peaks.items() if k != "plain save"}
    return {"rows": rows, "peaks": peaks, "whole": steps.whole}


def apart(stage: str, precision: str, folder: pathlib.Path) -> dict[str, Any]:
    """Returns what `measured` does, from a process of its own."""
    path = folder / "measured.json"
    subprocess.run(
        [
            sys.executable,
            __file__,
            f"--only={stage}",
            f"--packed_precision={precision}",
            f"--image_size={_SIZE.value}",
            f"--width={_WIDTH.value}",
            f"--batch_size={_BATCH.value}",
            f"--folder={folder}",
            f"--json={path}",
        ],
        check=True,
    )
    return json.loads(path.read_text())


def rows_of(
    title: str, stages: Sequence[str], precision: str, folder: pathlib.Path
) -> list[Row]:
    """Returns the rows of stages that follow each other."""
    found = {stage: apart(stage, precision, folder) for stage in stages}
    whole = max(each["whole"] for each in found.values())
    rows = [tuple(row) for each in found.values() for row in each["rows"]]
    return rows + [
        (
            f"{title} {stage}: memory of {name}, over network and slots "
            f"({whole / 1e6:.0f} MB)",
            most / whole,
            _MEMORY,
        )
        for stage, each in found.items()
        for name, most in each["peaks"].items()
    ]


def main(_):
    if _ONLY.value:
        made = measured(_ONLY.value, pathlib.Path(_FOLDER.value))
        pathlib.Path(_JSON.value).write_text(json.dumps(made))
        return
    rows = []
    jobs = [("Keras", _STAGES[:1], PRECISIONS[0])]
    jobs += [
        (precision, _STAGES[1:], precision) for precision in PRECISIONS[:2]
    ]
    for job in jobs:
        with tempfile.TemporaryDirectory(dir=_FOLDER.value) as folder:
            rows += rows_of(*job, pathlib.Path(folder))
    verdicts.write([(*row, row[1] <= row[2]) for row in rows], _JSON.value)


if __name__ == "__main__":
    app.run(main)
