"""The paper's VGG-16 with four tasks: files, seconds and memory of each step.

  python benchmarks/network_size.py

VGG-16 at 224 pixels, fc6 and fc7 among the shared weights, gets a base task
of 1,000 classes and three more. The last one trains on a batch with Adam, so
that its slots exist. The packed state is held against the paper's size, the
seconds of the commit against a plain `model.save`, and the memory of every
step, beyond what TensorFlow itself had, against that of the network and the
slots. Once for float32 and once for 16 bits, each in a process of its own, and
once for one plain Keras network, which is built, trained, saved and loaded. The
weights are random, which changes no size. The table is printed, and written to
`benchmarks/network_size.json`.
"""

import gc
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
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
from packnet_tf.storage.workdir import StateInfo, Workdir
from packnet_tf.workflow.report import size_of

_PLAIN = "plain"
_ONLY = flags.DEFINE_enum(
    "only", None, [_PLAIN, *PRECISIONS], "One of them, in this process."
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

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        gc.collect()
        trim()
        reset_peak()
        start = time.perf_counter()
        made = work()
        self.seconds[name] = time.perf_counter() - start
        most = peak() - self._before
        self.peaks[name] = max(most, self.peaks.get(name, 0))
        print(f"  {name}: {most / 1e6:.0f} MB, {self.seconds[name]:.1f} s")
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


def _grow(
    steps: _Steps, precision: str, workdir: Workdir
) -> tuple[int, StateInfo]:
    """Packs all tasks and commits; returns bytes of network and slots."""
    net = PackNet(backbone(), packed_precision=precision)
    for name in _CLASSES:
        steps.run("add", lambda name=name: _begin(net, name))
        if name == [*_CLASSES][-1]:
            size = steps.run("fit", lambda: _fit(net))
        steps.run("prune", lambda: net.prune(0.5))
        steps.run("pack", net.pack)
    return size, steps.run("commit", lambda: states.commit(workdir, net))


def _serve(steps: _Steps, workdir: Workdir, path: pathlib.Path) -> None:
    """Loads the state and exports it."""
    net, _ = steps.run("load", lambda: states.load(workdir))
    steps.run("export", lambda: export_saved_model(net, path))


def plain() -> keras.Model:
    """Returns one plain network with a head."""
    below = backbone()
    head = keras.layers.Dense(_CLASSES["base"])
    return keras.Model(below.input, head(below.output))


def _train_plain(steps: _Steps, path: pathlib.Path) -> int:
    """Saves and trains a plain network, and drops it."""
    model = steps.run("build", plain)
    steps.run("save", lambda: model.save(path))
    return steps.run("fit", lambda: _fit(model))


def measure_plain(folder: pathlib.Path) -> list[Row]:
    """Returns the rows of plain Keras."""
    steps, path = _Steps(), folder / "plain.keras"
    whole = _train_plain(steps, path)
    steps.run("load", lambda: keras.saving.load_model(path))
    print(f"  the .keras file {path.stat().st_size / 1e6:.0f} MB", flush=True)
    return _memory(_PLAIN, steps, whole)


def measure(precision: str, folder: pathlib.Path) -> list[Row]:
    """Returns name, figure and bar of each row of a packed network."""
    steps, workdir = _Steps(), Workdir(folder / "network")
    whole, state = _grow(steps, precision, workdir)
    _serve(steps, workdir, folder / "served")
    model = plain()
    steps.run("plain save", lambda: model.save(folder / "plain.keras"))
    print(
        f"  SavedModel of four tasks {size_of(folder / 'served') / 1e6:.0f} MB",
        flush=True,
    )
    seconds = steps.seconds
    return [
        (
            f"{precision}: packed state, MB",
            size_of(state.path) / 1e6,
            _STATE if precision == PRECISIONS[0] else _STATE_16,
        ),
        (
            f"{precision}: seconds of commit over model.save "
            f"({seconds['plain save']:.1f} s)",
            seconds["commit"] / seconds["plain save"],
            _COMMIT,
        ),
        *_memory(precision, steps, whole),
    ]


def _memory(title: str, steps: _Steps, whole: int) -> list[Row]:
    return [
        (
            f"{title}: memory of {name}, over network and slots "
            f"({whole / 1e6:.0f} MB)",
            most / whole,
            _MEMORY,
        )
        for name, most in steps.peaks.items()
        if name != "plain save"
    ]


def rows_of(what: str, folder: pathlib.Path) -> list[Row]:
    """Returns the rows of a precision, or of plain Keras."""
    # TensorFlow starts before anything is counted.
    tf.linalg.matmul(tf.ones([64, 64]), tf.ones([64, 64]))
    return measure_plain(folder) if what == _PLAIN else measure(what, folder)


def apart(what: str, folder: pathlib.Path) -> list[Row]:
    """Returns the rows of `rows_of`, from a process of its own."""
    path = folder / "rows.json"
    subprocess.run(
        [
            sys.executable,
            __file__,
            f"--only={what}",
            f"--image_size={_SIZE.value}",
            f"--width={_WIDTH.value}",
            f"--batch_size={_BATCH.value}",
            f"--folder={folder}",
            f"--json={path}",
        ],
        check=True,
    )
    return json.loads(path.read_text())


def main(_):
    rows = []
    wanted = [_ONLY.value] if _ONLY.value else [_PLAIN, *PRECISIONS[:2]]
    for what in wanted:
        run = rows_of if _ONLY.value else apart
        with tempfile.TemporaryDirectory(dir=_FOLDER.value) as folder:
            rows += run(what, pathlib.Path(folder))
    if _ONLY.value is None:
        verdicts.write([(*row, row[1] <= row[2]) for row in rows], _JSON.value)
    else:
        pathlib.Path(_JSON.value).write_text(json.dumps(rows))


if __name__ == "__main__":
    app.run(main)
