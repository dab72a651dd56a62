"""Tasks that fit, and their accuracy: fractions given, and one that is found.

  python benchmarks/auto_fraction.py --shared=PATH --workdir=runs/auto
  python benchmarks/auto_fraction.py --workdir=runs/auto --table

Six tasks, birds, cars and flowers with half of the classes each, are added to
MobileNet 0.75 at 96 px one after another: pruned at once by .5, by .75, by .9,
and by as much as validation accuracy allows (`--prune_fraction=auto`). A run
that is ended goes on where it was. The table has the mean test accuracy, what
is free after the last task, and each task's fraction. `--smoke` shows in some
minutes that it works: one epoch at 64 px of two tasks.
"""

import os
import pathlib
import shutil
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
from absl import app, flags, logging

from benchmarks import mobilenet
from packnet_tf import console
from packnet_tf.data import TaskData, open_task
from packnet_tf.errors import CapacityError
from packnet_tf.model.freed_memory import keep_freed_memory
from packnet_tf.model.replicas import make_strategy
from packnet_tf.options.serving import ServingConfig
from packnet_tf.options.task import TaskOptions
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.session import Session

_SHARED = flags.DEFINE_string(
    "shared", None, "Folder with data/{birds,cars,flowers} and weights/."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Keeps all runs.")
_FRACTIONS = flags.DEFINE_list(
    "fractions", ["0.5", "0.75", "0.9", "auto"], "What to prune by."
)
_TOLERANCE = flags.DEFINE_float("tolerance", 0.5, "Of auto, in points.")
_BASE = flags.DEFINE_float("base_prune_fraction", 0.5, "As in add_task.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of everything random.")
_SMOKE = flags.DEFINE_bool("smoke", False, "Short; the figures mean nothing.")
_TABLE = flags.DEFINE_bool("table", False, "Print the table, run nothing.")
_SETS = ("birds", "cars", "flowers")


def _half(name: str, second: bool) -> TaskData:
    """Opens the images of half of a data set's classes."""
    task = f"{name}_{'b' if second else 'a'}"
    folder = pathlib.Path(_WORKDIR.value) / "data" / task
    if not folder.exists():
        aside = folder.with_suffix(".part")
        shutil.rmtree(aside, ignore_errors=True)
        for part in ("train", "test"):
            source = pathlib.Path(_SHARED.value) / "data" / name / part
            classes = sorted(path.name for path in source.iterdir())
            middle = len(classes) // 2
            for one in classes[middle:] if second else classes[:middle]:
                shutil.copytree(source / one, aside / part / one)
        aside.rename(folder)
    return open_task(task, str(folder))


def _folder(fraction: str) -> pathlib.Path:
    return pathlib.Path(_WORKDIR.value) / f"prune_{fraction}"


def _run(fraction: str) -> None:
    size = 64 if _SMOKE.value else mobilenet.SIZE
    short = {"train_epochs": 1, "retrain_epochs": 1} if _SMOKE.value else {}
    network = mobilenet.options_of(
        _SHARED.value, size, base_prune_fraction=_BASE.value
    )
    session = Session(
        Workdir(_folder(fraction)), network, ServingConfig(), make_strategy(1)
    )
    for name in _SETS[:1] if _SMOKE.value else _SETS:
        for second in (False, True):
            data = _half(name, second)
            options = TaskOptions(
                task=data.name,
                prune_fraction=fraction,
                tolerance=_TOLERANCE.value if fraction == "auto" else None,
                # A search prunes at once; so do all here.
                gradual_epochs=0,
                validation_share=0.3,
                seed=_SEED.value,
                **short,
            )
            try:
                session.run(data, options)
            except CapacityError as error:
                print(f"{fraction}: {error}", flush=True)
                return


def table() -> str:
    """Returns a row for each way of pruning that has begun."""
    rows = []
    for fraction in _FRACTIONS.value:
        workdir = Workdir(_folder(fraction))
        state = workdir.newest() if workdir.path.exists() else None
        if state is None:
            continue
        _, *added = [task.metrics for task in state.tasks]
        if not added:
            continue
        accuracy = np.mean([task["test_accuracy"] for task in added])
        rows.append(
            [
                fraction,
                len(added),
                f"{accuracy:.3f}",
                f"{added[-1]['capacity_left']:.1%}",
                " ".join(f"{task['prune_fraction']:g}" for task in added),
            ]
        )
    head = ["pruned by", "tasks", "mean test", "free after", "fractions"]
    return console.table(head, rows)


def main(_):
    logging.set_verbosity(logging.WARNING)
    keep_freed_memory()
    if not _TABLE.value:
        for fraction in _FRACTIONS.value:
            _run(fraction)
    print(table())


if __name__ == "__main__":
    app.run(main)
