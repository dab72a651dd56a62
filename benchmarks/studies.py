"""What single options do to added tasks, on validation data.

  python benchmarks/studies.py --shared=PATH --seeds=0,1,2
  python benchmarks/studies.py --shared=PATH --studies=shares
  python benchmarks/studies.py --table --pictures=docs/images

Each study changes one option. Most add birds, cars and flowers to MobileNet
0.75 with ImageNet weights, at 64 pixels and with eight epochs a task; `shares`
adds twenty tasks of permuted digits to a small network without weights. 30 %
of the training images are held out and measured after the last task; the test
split is never read, but for the base task's images. Lines are added to
`benchmarks/studies.jsonl`, and those that are there are not run again.
`--table` prints them, and `--pictures` draws them.
"""

import dataclasses
import json
import os
import pathlib
import sys
import tempfile
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import keras
import numpy as np
from absl import app, flags, logging

from benchmarks import mobilenet
from benchmarks.study_rows import PHOTOS, STUDIES, Study
from packnet_tf import console
from packnet_tf.data import evaluation, open_task
from packnet_tf.errors import CapacityError
from packnet_tf.model.freed_memory import keep_freed_memory
from packnet_tf.model.packnet import PackNet
from packnet_tf.networks import build
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.task import TaskOptions
from packnet_tf.report import style
from packnet_tf.tf_internals.gradients import new_gradients_forgotten
from packnet_tf.workflow.base_run import new_net
from packnet_tf.workflow.datasets import Prepared, prepare
from packnet_tf.workflow.fit_images import training_images
from packnet_tf.workflow.in_memory import pack_in_memory
from packnet_tf.workflow.metrics import accuracy

_SHARED = flags.DEFINE_string("shared", None, "Folder with data/ and weights/.")
_STUDIES = flags.DEFINE_list("studies", [], "Which ones; by default all.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of each row.")
_SMOKE = flags.DEFINE_bool("smoke", False, "Short; the figures mean nothing.")
_TABLE = flags.DEFINE_bool("table", False, "Print the tables, run nothing.")
_PICTURES = flags.DEFINE_string("pictures", None, "Folder for the pictures.")
_FILE = flags.DEFINE_string(
    "file",
    str(pathlib.Path(__file__).with_suffix(".jsonl")),
    "Where the lines are added.",
)

_SIZE = 64
_BUDGET = {"train_epochs": 6, "retrain_epochs": 2}
_FOR_DIGITS = {
    "train_epochs": 4,
    "retrain_epochs": 2,
    "batch_size": 64,
    "learning_rate": 1e-3,
}
# Training images of each of the twenty tasks, with those that are held out.
_FEW = 3000


def _key(study: Study, row: str, seed: int) -> str:
    """Names what is run: rows of two studies may be the same."""
    tasks = "digits" if study.digits else "photos"
    return json.dumps([tasks, study.rows[row], seed], sort_keys=True)


def _found() -> dict[str, dict]:
    path = pathlib.Path(_FILE.value)
    texts = path.read_text().splitlines() if path.exists() else []
    return {line["key"]: line for line in map(json.loads, texts)}


def _data(study: Study, options: TaskOptions, size: int) -> list[Prepared]:
    folder = f"{_SHARED.value}/data"
    tasks = study.tasks[: 2 if _SMOKE.value else None]
    found = []
    for name in tasks:
        place = f"{folder}/mnist.npz" if study.digits else f"{folder}/{name}"
        opened = open_task(name, place)
        if study.digits:
            few = np.random.default_rng(len(found)).permutation(
                len(opened.train)
            )[:_FEW]
            opened = dataclasses.replace(opened, train=opened.train.subset(few))
        found.append(
            prepare(opened, size, dataclasses.replace(options, task=name))
        )
    return found


def _pretrained(
    changes: dict, first: Prepared, options: TaskOptions, folder: pathlib.Path
) -> tuple[PackNet, float]:
    """Returns MobileNet with its base task, and the base task's accuracy."""
    facts = mobilenet.options_of(
        _SHARED.value, _SIZE, base_recovery="none", **changes
    )
    images = training_images(first, options.reconstruct_images)
    net = mobilenet.with_base_task(facts, images, folder, options.seed)
    sample = open_task("imagenet", f"{_SHARED.value}/data/imagenet_sample")
    return net, accuracy(net, evaluation(sample.test, _SIZE, 32))


def run(study: Study, row: str, seed: int, folder: pathlib.Path) -> dict:
    """Adds all tasks of a study with the options of one row.

    Returns:
        Validation accuracy of each task that fits, after the last one, what
        is free then, and the base task's accuracy, if there is one.
    """
    changes = dict(study.rows[row])
    of_net = {
        name.removeprefix("network_"): changes.pop(name)
        for name in list(changes)
        if name.startswith("network_")
    }
    budget: dict[str, Any] = _FOR_DIGITS if study.digits else _BUDGET
    if _SMOKE.value:
        budget = {**budget, "train_epochs": 1, "retrain_epochs": 1}
        changes = {n: v for n, v in changes.items() if n not in budget}
    options = TaskOptions(
        task="-",
        seed=seed,
        validation_share=0.3,
        **{**budget, **changes},
    )
    data = _data(study, options, 28 if study.digits else _SIZE)
    base = None
    if study.digits:
        keras.utils.set_random_seed(seed)
        facts = NetworkOptions(network="mlp", weights="none", image_size=28)
        made = build(
            "mlp", image_size=28, weights="none", options={"width": 100}
        )
        net = new_net(made, facts)
    else:
        net, base = _pretrained(of_net, data[0], options, folder)
    for number, task in enumerate(data, 1):
        try:
            pack_in_memory(
                net, task, options, number, folder, lambda line: None
            )
        except CapacityError:
            break
    scores = []
    for task in data[: len(net.tasks) - (base is not None)]:
        net.activate(task.name)
        scores.append(accuracy(net, task.validation))
    return {"accuracy": scores, "free": net.capacity, "base": base}


def measure(names: list[str]) -> None:
    """Runs what is missing, and adds a line for each row and seed."""
    found = _found()
    todo = {
        _key(STUDIES[name], row, seed): (name, row, seed)
        for seed in map(int, _SEEDS.value)
        for name in names
        for row in list(STUDIES[name].rows)[: 2 if _SMOKE.value else None]
    }
    todo = {key: what for key, what in todo.items() if key not in found}
    for done, (key, (name, row, seed)) in enumerate(todo.items(), 1):
        start = time.monotonic()
        with (
            tempfile.TemporaryDirectory() as folder,
            new_gradients_forgotten(),
        ):
            line = run(STUDIES[name], row, seed, pathlib.Path(folder))
        with open(_FILE.value, "a") as file:
            file.write(json.dumps({"key": key, **line}) + "\n")
        mean, seconds = np.mean(line["accuracy"]), time.monotonic() - start
        what = f"{done} of {len(todo)}: {name} {row}, seed {seed}"
        print(f"{what}: {mean:.3f}, {seconds:.0f} s", flush=True)


def lines_of(name: str) -> dict[str, list[dict]]:
    """Returns what was measured for each row of a study."""
    study, found = STUDIES[name], _found()
    keys = {
        row: [_key(study, row, seed) for seed in map(int, _SEEDS.value)]
        for row in study.rows
    }
    return {
        row: [found[key] for key in each if key in found]
        for row, each in keys.items()
    }


def table(name: str) -> str:
    """Returns a row for each setting: means over the seeds."""
    study = STUDIES[name]
    rows = []
    for row, lines in lines_of(name).items():
        if not lines:
            continue
        means = [np.mean(line["accuracy"]) for line in lines]
        spread = f" ± {np.std(means, ddof=1):.3f}" if len(means) > 1 else ""
        fit = min(len(line["accuracy"]) for line in lines)
        shown = np.mean([line["accuracy"][:fit] for line in lines], 0)
        if study.digits:
            shown = shown[[0, min(9, fit - 1), -1]]
        base = [line["base"] for line in lines if line["base"] is not None]
        rows.append(
            [
                row,
                len(lines),
                fit,
                *(f"{share:.3f}" for share in shown),
                f"{np.mean(means):.3f}{spread}",
                f"{np.mean([line['free'] for line in lines]):.1%}",
                f"{np.mean(base):.3f}" if base else "-",
            ]
        )
    tasks = ["first", "tenth", "last"] if study.digits else list(PHOTOS)
    head = [study.title, "seeds", "fit", *tasks, "mean", "free"]
    return console.table([*head, "imagenet"], rows)


def picture(name: str, folder: pathlib.Path) -> None:
    """Draws a study's rows: a point for each seed, and the mean."""
    rows = {row: lines for row, lines in lines_of(name).items() if lines}
    with style.applied():
        figure = style.new_figure(2.4, 5.0)
        axes = figure.subplots()
        for place, lines in enumerate(rows.values()):
            means = [np.mean(line["accuracy"]) for line in lines]
            axes.plot([place] * len(means), means, "o", color=style.SKY)
            axes.plot(place, np.mean(means), "_", color="black", markersize=24)
        axes.set_xticks(range(len(rows)), list(rows))
        axes.set_xlim(-0.6, len(rows) - 0.4)
        axes.set_xlabel(STUDIES[name].title)
        axes.set_ylabel("validation accuracy")
        folder.mkdir(parents=True, exist_ok=True)
        # Without the date, the same figures always have the same bytes.
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def main(_):
    unknown = set(_STUDIES.value) - set(STUDIES)
    if unknown:
        raise app.UsageError(
            f"--studies: {unknown.pop()!r} is none of {', '.join(STUDIES)}."
        )
    names = _STUDIES.value or list(STUDIES)
    if not _TABLE.value:
        logging.set_verbosity(logging.WARNING)
        keep_freed_memory()
        measure(names)
    for name in names:
        print(f"\n{name}\n{table(name)}")
        if _PICTURES.value:
            picture(name, pathlib.Path(_PICTURES.value))


if __name__ == "__main__":
    app.run(main)
