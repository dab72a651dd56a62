"""Validation accuracies under given options: how defaults are chosen.

  python benchmarks/tuning.py --shared=PATH --tasks=birds,cars,flowers \
      --options=learning_rate=4e-3,optimizer=adamw,weight_decay=0.05

packs the tasks one after another, in memory alone, into MobileNet 0.75 with
ImageNet weights, and prints the validation accuracies of each after each
phase; `--method=separate` fine-tunes a network of its own for each instead.
`--options` are fields of `TaskOptions`. 30 % of the training images are held
out, so that there are enough to tell settings apart. The test split is never
read.
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

from benchmarks import mobilenet
from benchmarks.plain import train_plain
from packnet_tf.data import open_task
from packnet_tf.model.freed_memory import keep_freed_memory
from packnet_tf.networks import parse_options
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.task import TaskOptions
from packnet_tf.workflow.datasets import prepare
from packnet_tf.workflow.fit_images import training_images
from packnet_tf.workflow.in_memory import pack_in_memory
from packnet_tf.workflow.metrics import accuracy

_SHARED = flags.DEFINE_string(
    "shared", None, "Folder with data/{birds,cars,flowers} and weights/."
)
_METHOD = flags.DEFINE_enum(
    "method", "packnet", ["packnet", "separate"], "Method."
)
_TASKS = flags.DEFINE_list("tasks", ["cars"], "Tasks, in this order.")
_OPTIONS = flags.DEFINE_string("options", "", "Fields of TaskOptions.")
_BASE = flags.DEFINE_float(
    "base_prune_fraction", NetworkOptions.base_prune_fraction, "As in add_task."
)
_BASE_SCOPE = flags.DEFINE_string(
    "base_scope", NetworkOptions.base_scope, "As in add_task."
)
_PRIVATE = flags.DEFINE_enum(
    "private",
    NetworkOptions.private,
    ["per_task", "frozen"],
    "As in add_task; of separate networks, whether normalization is frozen.",
)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of everything random.")

_HELD_OUT = 0.3


def _options(task):
    return TaskOptions(
        task=task,
        validation_share=_HELD_OUT,
        seed=_SEED.value,
        **parse_options(_OPTIONS.value),
    )


def _prepared(options):
    opened = open_task(options.task, f"{_SHARED.value}/data/{options.task}")
    return prepare(opened, mobilenet.SIZE, options)


def packnet():
    """Yields the validation accuracies of tasks packed into one network."""
    facts = mobilenet.options_of(
        _SHARED.value,
        base_prune_fraction=_BASE.value,
        base_scope=_BASE_SCOPE.value,
        private=_PRIVATE.value,
        # What the base task recovers changes no byte of the others.
        base_recovery="none",
    )
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        first = _options(_TASKS.value[0])
        images = None
        if first.reconstruct:
            images = training_images(_prepared(first), first.reconstruct_images)
        net = mobilenet.with_base_task(facts, images, folder, _SEED.value)
        for number, task in enumerate(_TASKS.value, start=1):
            options = _options(task)
            data = _prepared(options)
            record = pack_in_memory(net, data, options, number, folder)
            yield task, record.metrics


def separate():
    """Yields the validation accuracy of networks of the tasks' own."""
    for task in _TASKS.value:
        options = _options(task)
        data = _prepared(options)
        model = train_plain(
            data,
            options,
            weights=mobilenet.options_of(_SHARED.value).weights,
            image_size=mobilenet.SIZE,
            learning_rate=options.learning_rate,
            frozen_normalization=_PRIVATE.value == "frozen",
        )
        yield task, {"accuracy": accuracy(model, data.validation)}


def main(_):
    logging.set_verbosity(logging.WARNING)
    start = time.monotonic()
    found = dict({"packnet": packnet, "separate": separate}[_METHOD.value]())
    row = {
        "method": _METHOD.value,
        "options": _OPTIONS.value,
        "base_prune_fraction": _BASE.value,
        "base_scope": _BASE_SCOPE.value,
        "private": _PRIVATE.value,
        "seed": _SEED.value,
        "validation": found,
        "seconds": round(time.monotonic() - start),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    app.run(main)
