"""What switching between tasks costs, and `import packnet_tf`.

  python benchmarks/switching.py

A network with ten packed tasks switches to each of them again and again after
each was used once: how long `activate` takes, and how often a forward pass is
traced after it. All tasks are evaluated, in turn with ten plain models that
answer like them (`packnet_tf.extract`). `import packnet_tf` is timed beside
`import keras`, in processes of their own. The table is printed, and written
to `benchmarks/switching.json`.
"""

import os
import pathlib
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import keras
import numpy as np
from absl import app, flags

import packnet_tf
from benchmarks import verdicts
from benchmarks.timing import in_turn
from packnet_tf.networks import build

_TASKS = flags.DEFINE_integer("tasks", 10, "Tasks.", lower_bound=2)
_PAIRS = flags.DEFINE_integer("pairs", 10, "Rounds of every measurement.")
_IMAGES = flags.DEFINE_integer("images", 512, "Images to evaluate on.")
_JSON = flags.DEFINE_string(
    "json",
    str(pathlib.Path(__file__).with_suffix(".json")),
    "File for the figures.",
)

_SIZE, _CLASSES = 32, 5
# Milliseconds of `activate`, traces after it, evaluation over plain models',
# seconds of the import over Keras's.
_SWITCH, _TRACES, _EVALUATE, _IMPORT = 1.0, 0, 1.1, 0.3


def packed() -> packnet_tf.PackNet:
    """Returns a network with packed tasks, compiled."""
    keras.utils.set_random_seed(0)
    net = packnet_tf.PackNet(
        build("cnn", image_size=_SIZE, weights="none").backbone
    )
    for number in range(_TASKS.value):
        # With a head that is given, a task counts as trained.
        head = keras.layers.Dense(_CLASSES)
        head.build((None, net.feature_count()))
        net.add_task(f"task_{number}", _CLASSES, head=head, origin="random")
        net.prune(0.75)
        net.pack()
    _compile(net)
    return net


def _compile(model: keras.Model) -> None:
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])


def switched(net: packnet_tf.PackNet, x: np.ndarray) -> tuple[float, int]:
    """Returns milliseconds of `activate`, and traces after it."""
    names = [task.name for task in net.tasks]
    for name in names:
        net.activate(name)
        net.predict(x, verbose=0)
    traced, features = [], net.features

    def counted(*args, **kwargs):
        traced.append(1)
        return features(*args, **kwargs)

    vars(net)["features"] = counted
    taken = []
    for _ in range(_PAIRS.value):
        for name in names:
            start = time.perf_counter()
            net.activate(name)
            taken.append(time.perf_counter() - start)
            net.predict(x, verbose=0)
    del vars(net)["features"]
    return 1e3 * float(np.median(taken)), len(traced)


def evaluated(net: packnet_tf.PackNet, x: np.ndarray) -> dict[str, float]:
    """Returns time of evaluating all tasks, over that of plain models."""
    y = np.random.default_rng(0).integers(0, _CLASSES, len(x))
    names = [task.name for task in net.tasks]
    models = [
        [packnet_tf.extract(net, name) for name in names] for _ in range(2)
    ]
    for model in models[0] + models[1]:
        _compile(model)

    def plain(which: int):
        def run(count: int) -> float:
            start = time.perf_counter()
            for model in models[which]:
                model.evaluate(x, y, verbose=0)
            return time.perf_counter() - start

        return run

    def tasks(count: int) -> float:
        start = time.perf_counter()
        for name in names:
            net.activate(name)
            net.evaluate(x, y, verbose=0)
        return time.perf_counter() - start

    runs = {"plain": plain(0), "control": plain(1), "packnet": tasks}
    for run in runs.values():
        run(1)
    taken = in_turn(runs, 1, _PAIRS.value)
    return {
        name: float(np.median(taken[name] / taken["plain"]))
        for name in ("control", "packnet")
    }


def imported() -> dict[str, float]:
    """Returns CPU seconds of importing Keras, and the package after it."""
    # The first time from the disk is not counted.
    code = (
        "import time; a = time.process_time(); import keras; "
        "b = time.process_time(); import packnet_tf; "
        "print(b - a, time.process_time() - b)"
    )
    found = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=pathlib.Path(__file__).resolve().parents[1],
        )
        found.append([float(s) for s in done.stdout.split()])
    keras_seconds, own = np.min(found, axis=0)
    return {"keras": float(keras_seconds), "packnet_tf": float(own)}


def main(_):
    x = np.random.default_rng(0).uniform(
        0, 255, (_IMAGES.value, _SIZE, _SIZE, 3)
    )
    x = x.astype(np.float32)
    took = imported()
    net = packed()
    ratios = evaluated(net, x)
    switch, traces = switched(net, x)
    rows = [
        ("activate, ms", switch, _SWITCH),
        ("traces after it", traces, _TRACES),
        (
            f"evaluating {_TASKS.value} tasks over plain models (control "
            f"{ratios['control']:.3f})",
            ratios["packnet"],
            _EVALUATE,
        ),
        (
            "import packnet_tf, CPU s over import keras "
            f"({took['keras']:.2f} s)",
            took["packnet_tf"],
            _IMPORT,
        ),
    ]
    verdicts.write([(*row, row[1] <= row[2]) for row in rows], _JSON.value)


if __name__ == "__main__":
    app.run(main)
