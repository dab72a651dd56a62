"""What ways of pruning and retraining cost a task, on validation data.

  python benchmarks/pruning.py --shared=PATH --task=flowers --seed=0
  python benchmarks/pruning.py --table

trains the task once, as the first one added to MobileNet 0.75 with ImageNet
weights, and prunes and retrains copies of that in other ways than by default,
one change at a time. Lines are added to `benchmarks/pruning.jsonl`, of which
those that are there are not run again; `--table` prints their means over the
seeds. 30 % of the training images are held out; the test split is never read.
"""

import copy
import dataclasses
import json
import os
import pathlib
import shutil
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
from absl import app, flags, logging

from benchmarks import mobilenet
from packnet_tf import console
from packnet_tf.data import open_task
from packnet_tf.model.freed_memory import keep_freed_memory
from packnet_tf.options.task import TaskOptions
from packnet_tf.storage.checkpoints import TrainingRecord
from packnet_tf.workflow.datasets import prepare
from packnet_tf.workflow.fit_images import training_images
from packnet_tf.workflow.task_run import TaskRun, run_phases

_SHARED = flags.DEFINE_string(
    "shared", None, "Folder with data/{birds,cars,flowers} and weights/."
)
_TASK = flags.DEFINE_string("task", "flowers", "The task.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of everything random.")
_SMOKE = flags.DEFINE_bool("smoke", False, "Short; the figures mean nothing.")
_TABLE = flags.DEFINE_bool("table", False, "Print the table, run nothing.")
_FILE = flags.DEFINE_string(
    "file",
    str(pathlib.Path(__file__).with_suffix(".jsonl")),
    "Where the lines are added.",
)

WAYS = {
    "default: 0.75, fitted, 8 epochs at 1e-3": {},
    "0.5": {"prune_fraction": 0.5},
    "0.9": {"prune_fraction": 0.9},
    "0.95": {"prune_fraction": 0.95},
    "global": {"scope": "global"},
    "0.9, global": {"prune_fraction": 0.9, "scope": "global"},
    "not fitted": {"reconstruct": False, "gradual_epochs": 0},
    "not fitted, gradual": {"reconstruct": False},
    "0.25 of the filters": {"granularity": "filter", "prune_fraction": 0.25},
    "0.5 of the filters": {"granularity": "filter", "prune_fraction": 0.5},
    "2 epochs": {"retrain_epochs": 2},
    "16 epochs": {"retrain_epochs": 16},
    "at 2.5e-4": {"retrain_learning_rate": 2.5e-4},
    "at 4e-3": {"retrain_learning_rate": 4e-3},
}


def _rows() -> list[dict]:
    path = pathlib.Path(_FILE.value)
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def measure(folder: pathlib.Path) -> None:
    """Trains the task, and adds a line for each way not measured yet."""
    known = {(r["task"], r["seed"], r["way"]) for r in _rows()}
    wanted = list(WAYS.items())[: 2 if _SMOKE.value else None]
    ways = {
        way: changes
        for way, changes in wanted
        if (_TASK.value, _SEED.value, way) not in known
    }
    if not ways:
        return
    size, first = mobilenet.SIZE, {}
    if _SMOKE.value:
        size, first = 64, {"train_epochs": 1}
    options = TaskOptions(
        task=_TASK.value, seed=_SEED.value, validation_share=0.3, **first
    )
    opened = open_task(_TASK.value, f"{_SHARED.value}/data/{_TASK.value}")
    data = prepare(opened, size, options)
    images = training_images(data, options.reconstruct_images)
    facts = mobilenet.options_of(_SHARED.value, size, base_recovery="none")
    run = TaskRun(
        mobilenet.with_base_task(facts, images, folder, _SEED.value),
        TrainingRecord(_TASK.value),
        folder / "trained",
        data=data,
        options=dataclasses.replace(options, phases=("train",)),
    )
    run_phases(run)
    for number, (way, changes) in enumerate(ways.items()):
        if _SMOKE.value:
            changes = {"retrain_epochs": 1, "gradual_epochs": 0, **changes}
        place = folder / str(number)
        shutil.copytree(run.folder, place)
        again = dataclasses.replace(
            run,
            net=copy.deepcopy(run.net),
            record=TrainingRecord(_TASK.value),
            folder=place,
            options=dataclasses.replace(
                options, phases=("prune", "retrain"), **changes
            ),
        )
        metrics = run_phases(again).metrics
        row = {
            "task": _TASK.value,
            "seed": _SEED.value,
            "way": way,
            "free": round(again.net.capacity, 4),
            **metrics,
        }
        with open(_FILE.value, "a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


def table() -> str:
    """Returns a row for each way: means over the tasks and seeds measured."""
    found = _rows()
    lines = []
    for way in WAYS:
        rows = [row for row in found if row["way"] == way]
        if not rows:
            continue

        def mean(name, rows=rows):
            values = [row[name] for row in rows if name in row]
            return f"{np.mean(values):.3f}" if values else "-"

        lines.append(
            [
                way,
                len(rows),
                mean("accuracy_trained"),
                mean("accuracy_pruned"),
                mean("accuracy_retrained"),
                f"{np.mean([row['free'] for row in rows]):.1%}",
            ]
        )
    head = ["pruned by", "runs", "trained", "pruned", "retrained", "free"]
    return console.table(head, lines)


def main(_):
    if not _TABLE.value:
        logging.set_verbosity(logging.WARNING)
        keep_freed_memory()
        with tempfile.TemporaryDirectory() as folder:
            measure(pathlib.Path(folder))
    print(table())


if __name__ == "__main__":
    app.run(main)
