"""PackNet beside separately fine-tuned networks and classifiers alone.

  python benchmarks/accuracy.py --shared=PATH --method=packnet --seed=0

trains one method with one seed on birds, cars and flowers, and adds a line
to `benchmarks/accuracy.jsonl`; `--table` prints the means of all lines. Every
method sees the same images in the same order, with the same augmentation, for
the same number of epochs, and never the test split before the last number.
"""

import json
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
from absl import app, flags, logging

from benchmarks import mobilenet
from benchmarks.plain import train_plain
from packnet_tf import console
from packnet_tf.compare import intervals
from packnet_tf.data import open_task
from packnet_tf.model.freed_memory import keep_freed_memory
from packnet_tf.model.replicas import make_strategy
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.serving import ServingConfig
from packnet_tf.options.task import SCOPES, TaskOptions
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.datasets import prepare, prepare_test
from packnet_tf.workflow.metrics import accuracy
from packnet_tf.workflow.session import Session

_SHARED = flags.DEFINE_string(
    "shared", None, "Folder with data/{birds,cars,flowers} and weights/."
)
_METHOD = flags.DEFINE_enum(
    "method", "packnet", ["packnet", "separate", "classifier"], "Method."
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of everything random.")
_RATE = flags.DEFINE_float(
    "learning_rate", 4e-3, "Peak rate of separate and classifier (Adam)."
)
_BASE = flags.DEFINE_float(
    "base_prune_fraction",
    NetworkOptions.base_prune_fraction,
    "As in add_task.",
)
_BASE_SCOPE = flags.DEFINE_enum(
    "base_scope", NetworkOptions.base_scope, SCOPES, "As in add_task."
)
_RECOVERY = flags.DEFINE_enum(
    "base_recovery",
    NetworkOptions.base_recovery,
    ["none", "distill"],
    "As in add_task.",
)
_READS = flags.DEFINE_enum(
    "reads", TaskOptions.reads, ["base", "all"], "As in add_task."
)
_TASKS = flags.DEFINE_list(
    "tasks", ["birds", "cars", "flowers"], "Tasks, in this order."
)
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Keeps PackNet's workdir; tasks that are packed there are not run again.",
)
_TABLE = flags.DEFINE_bool("table", False, "Print the means and stop.")
_BASELINE = flags.DEFINE_string(
    "baseline",
    "separate (probe, Adam 0.004)",
    "The row that the table pairs the others with, seed by seed.",
)

_FILE = pathlib.Path(__file__).with_suffix(".jsonl")


def _options(task):
    return TaskOptions(task=task, seed=_SEED.value, reads=_READS.value)


def _data(task):
    return open_task(task, f"{_SHARED.value}/data/{task}")


def run_packnet(folder):
    """Adds the tasks to one network; returns validation and test."""
    network = mobilenet.options_of(
        _SHARED.value,
        base_prune_fraction=_BASE.value,
        base_scope=_BASE_SCOPE.value,
        base_recovery=_RECOVERY.value,
    )
    strategy = make_strategy(1)
    keep_freed_memory()
    session = Session(Workdir(folder), network, ServingConfig(), strategy)
    for task in _TASKS.value:
        outcome = session.run(_data(task), _options(task))
    metrics = {t.name: t.metrics for t in outcome.state.tasks}
    return tuple(
        {task: metrics[task][name] for task in _TASKS.value}
        for name in ("accuracy_retrained", "test_accuracy")
    )


def run_plain(task, frozen):
    """Fine-tunes a network of its own, or a classifier on a frozen one."""
    options = _options(task)
    opened = _data(task)
    data = prepare(opened, mobilenet.SIZE, options)
    model = train_plain(
        data,
        options,
        weights=mobilenet.options_of(_SHARED.value).weights,
        image_size=mobilenet.SIZE,
        learning_rate=_RATE.value,
        frozen=frozen,
    )
    validation = accuracy(model, data.validation)
    test = prepare_test(opened, mobilenet.SIZE, options)
    return validation, accuracy(model, test)


def table():
    """Prints test accuracies: mean and deviation over the seeds, and pairs."""
    rows: dict[str, dict[int, dict[str, float]]] = {}
    for line in _FILE.read_text().splitlines():
        row = json.loads(line)
        rows.setdefault(row["name"], {})[row["seed"]] = row["test"]
    tasks = ["birds", "cars", "flowers"]
    baseline = rows.get(_BASELINE.value, {})
    cells = []
    for name, found in rows.items():
        columns = [[f[task] for f in found.values()] for task in tasks]
        columns.append([_mean(f) for f in found.values()])
        shown = [
            f"{np.mean(v):.3f} ±{intervals.deviation(v) or 0:.3f}"
            for v in columns
        ]
        cells.append([name, len(found), *shown, _paired(found, baseline)])
    columns = ["method", "seeds", *tasks, "mean", f"less {_BASELINE.value}"]
    print(console.table(columns, cells))


def _mean(accuracies: dict[str, float]) -> float:
    return float(np.mean(list(accuracies.values())))


def _paired(found, baseline) -> str:
    """Returns the mean difference in points, with its 95 % interval."""
    seeds = sorted(set(found) & set(baseline))
    interval = intervals.paired(
        [100 * _mean(found[seed]) for seed in seeds],
        [100 * _mean(baseline[seed]) for seed in seeds],
    )
    if interval is None or found is baseline:
        return "-"
    if interval.low is None:
        return f"{interval.mean:+.1f}"
    return f"{interval.mean:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}]"


def main(_):
    logging.set_verbosity(logging.WARNING)
    if _TABLE.value:
        table()
        return
    name = _METHOD.value
    if _METHOD.value == "packnet":
        scope = ", global" if _BASE_SCOPE.value == "global" else ""
        name += f" (base {_BASE.value}{scope} fitted, reads {_READS.value})"
        if _WORKDIR.value:
            validation, test = run_packnet(_WORKDIR.value)
        else:
            with tempfile.TemporaryDirectory() as folder:
                validation, test = run_packnet(pathlib.Path(folder) / "m")
    else:
        name += f" (probe, Adam {_RATE.value:g})"
        test, validation = {}, {}
        for task in _TASKS.value:
            validation[task], test[task] = run_plain(
                task, frozen=_METHOD.value == "classifier"
            )
            print(task, validation[task], test[task], flush=True)
    if _TASKS.value != ["birds", "cars", "flowers"]:
        name += f", {', '.join(_TASKS.value)}"
    row = {
        "name": name,
        "seed": _SEED.value,
        "test": test,
        "validation": validation,
    }
    with open(_FILE, "a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row))


if __name__ == "__main__":
    app.run(main)
