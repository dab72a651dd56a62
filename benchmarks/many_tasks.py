"""What each further task of one network costs: does it stay flat?

  python benchmarks/many_tasks.py --tasks=20
  python benchmarks/many_tasks.py --tasks=100 --images=data/birds,data/cars

Tasks of five classes each, 32 pixels, are added to a small network with
equal shares, one epoch a phase: first as `apps/add_task.py` does, each in a
process of its own, and then by `PackNet` alone in one process, beside plain
Keras that compiles and fits one model as often. Of each task it is measured
how many seconds of CPU time it took, what its state and its SavedModel take on
disk, and the memory of its process; a row compares the last fifth of the
tasks with the first. The table is printed, and written to
`benchmarks/many_tasks.json`.
"""

import gc
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import keras
import numpy as np
from absl import app, flags

from benchmarks.memory import memory, peak, reset_peak, trim
from packnet_tf import console
from packnet_tf.data import evaluation
from packnet_tf.data.task_data import open_task
from packnet_tf.model.packnet import PackNet
from packnet_tf.model.replicas import make_strategy
from packnet_tf.networks import build
from packnet_tf.options import fractions
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.serving import ServingConfig
from packnet_tf.options.task import TaskOptions
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.report import size_of
from packnet_tf.workflow.session import Session

_TASKS = flags.DEFINE_integer("tasks", 20, "Tasks.", lower_bound=5)
_EACH = flags.DEFINE_integer("each", 20, "Images of each class.")
_IMAGES = flags.DEFINE_list(
    "images", ["bundled:fashion"], "Data whose classes the tasks draw from."
)
_WAYS = flags.DEFINE_list("ways", ["sessions", "api", "plain"], "What to run.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Goes on with its tasks.")
_ONE = flags.DEFINE_integer("one", None, "Adds this task, in this process.")
_JSON = flags.DEFINE_string(
    "json",
    str(pathlib.Path(__file__).with_suffix(".json")),
    "File for the figures.",
)

_SIZE, _CLASSES = 32, 5
# The last fifth of the tasks, over the first.
_BAR = 1.10
_NETWORK = NetworkOptions(network="cnn", weights="none", image_size=_SIZE)


def images_of(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and labels of a task: five of all classes there are."""
    sources = [open_task("pool", data).train for data in _IMAGES.value]
    pool = [
        (source, np.flatnonzero(source.labels == label))
        for source in sources
        for label in range(len(source.class_names))
    ]
    random = np.random.default_rng(number)
    images, labels = [], []
    drawn = random.choice(len(pool), _CLASSES, replace=False)
    for label, place in enumerate(drawn):
        source, rows = pool[place]
        few = source.subset(random.permutation(rows)[: _EACH.value])
        for batch, _ in evaluation(few, _SIZE, _EACH.value):
            images.append(batch.numpy().astype(np.uint8))
            labels += [label] * len(batch)
    return np.concatenate(images), np.array(labels)


def add_by_session(number: int, workdir: Workdir) -> dict[str, float]:
    """Adds a task as an app does; returns its figures."""
    name = f"task_{number}"
    data = open_task(name, {"train": images_of(number)})
    options = TaskOptions(
        task=name,
        train_epochs=1,
        retrain_epochs=1,
        learning_rate=1e-3,
        prune_fraction=fractions.EQUAL_SHARE,
        planned_tasks=_TASKS.value,
    )
    reset_peak()
    start = time.process_time()
    made = Session(
        workdir, _NETWORK, ServingConfig(), make_strategy(1), lambda line: None
    ).run(data, options)
    return {
        "seconds": time.process_time() - start,
        "memory": peak(),
        "state": size_of(made.state.path),
        "saved_model": size_of(made.saved_model),
    }


def sessions(workdir: Workdir) -> list[dict[str, float]]:
    """Returns the figures of all tasks, each of a process of its own."""
    found = []
    for number in range(1, _TASKS.value + 1):
        done = subprocess.run(
            [
                sys.executable,
                __file__,
                f"--one={number}",
                f"--workdir={workdir.path}",
                f"--tasks={_TASKS.value}",
                f"--each={_EACH.value}",
                f"--images={','.join(_IMAGES.value)}",
            ],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"session {number}: {found[-1]}", flush=True)
    return found


def api() -> list[dict[str, float]]:
    """Returns the figures of tasks that one network gets in one process."""
    net = PackNet(build("cnn", image_size=_SIZE, weights="none").backbone)

    def add(number, x, y):
        net.add_task(f"task_{number}", _CLASSES)
        _compile(net)
        net.fit(x, y, verbose=0)
        fraction = fractions.equal_share(_TASKS.value, number)
        if fraction:
            net.prune(fraction)
            net.fit(x, y, verbose=0)
        net.pack()
        net.evaluate(x, y, verbose=0)

    return _in_one_process(add, "api")


def plain() -> list[dict[str, float]]:
    """The same of one plain model, compiled and fitted again and again."""
    backbone = build("cnn", image_size=_SIZE, weights="none").backbone
    head = keras.layers.Dense(_CLASSES, activation="softmax")
    model = keras.Model(backbone.input, head(backbone.output))

    def fit(number, x, y):
        for _ in range(2):
            _compile(model)
            model.fit(x, y, verbose=0)
        model.evaluate(x, y, verbose=0)

    return _in_one_process(fit, "plain")


def _in_one_process(work, name: str) -> list[dict[str, float]]:
    found = []
    for number in range(1, _TASKS.value + 1):
        x, y = images_of(number)
        start = time.process_time()
        work(number, x.astype(np.float32), y)
        seconds = time.process_time() - start
        gc.collect()
        trim()
        found.append({"seconds": seconds, "memory": memory()})
        print(f"{name} {number}: {found[-1]}", flush=True)
    return found


def _compile(model: keras.Model) -> None:
    model.compile(
        keras.optimizers.Adam(1e-3),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )


def rows_of(
    way: str, figures: list[dict[str, float]]
) -> list[tuple[str, str, float, float, float, bool]]:
    """Returns way, what, first fifth, last fifth, growth a task, and held."""
    rows = []
    # The first task traces and reads what all need.
    later = figures[1:]
    fifth = max(1, len(later) // 5)
    for what in later[0]:
        values = np.array([figure[what] for figure in later])
        first, last = (
            float(np.median(part)) for part in (values[:fifth], values[-fifth:])
        )
        slope = float(np.polyfit(np.arange(len(values)), values, 1)[0])
        rows.append((way, what, first, last, slope, last <= _BAR * first))
    return rows


def main(_):
    if _ONE.value is not None:
        print(json.dumps(add_by_session(_ONE.value, Workdir(_WORKDIR.value))))
        return
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for way in _WAYS.value:
            if way == "sessions":
                path = _WORKDIR.value or pathlib.Path(folder) / "network"
                figures[way] = sessions(Workdir(path))
            else:
                figures[way] = {"api": api, "plain": plain}[way]()
    rows = [
        row for way, found in figures.items() for row in rows_of(way, found)
    ]
    pathlib.Path(_JSON.value).write_text(
        json.dumps({"rows": rows, "figures": figures}, indent=1) + "\n"
    )
    cells = []
    for way, what, first, last, slope, held in rows:
        unit = 1 if what == "seconds" else 1e6
        cells.append(
            [
                way,
                what + ("" if unit == 1 else ", MB"),
                f"{first / unit:.3f}",
                f"{last / unit:.3f}",
                f"{slope / unit:.4f}",
                f"{last / first:.3f}",
                f"{_BAR:g}",
                "held" if held else "MISSED",
            ]
        )
    head = ["way", "what", "first fifth", "last fifth", "a task more"]
    print(console.table([*head, "ratio", "bar", ""], cells))


if __name__ == "__main__":
    app.run(main)
