"""Validation accuracy of a task at a learning rate: how defaults are chosen.

  python benchmarks/rates.py --shared=PATH --workdir=runs/m --state=2 \
      --task=cars --learning_rate=4e-3

adds a task to a packed state, in memory alone, and prints the validation
accuracy after each phase; `--method=separate` fine-tunes a network of its own
instead. 30 % of the training images are held out, so that there are enough to
tell settings apart. The test split is never read.
"""

import json
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import keras
from absl import app, flags, logging

from benchmarks.plain import train_plain
from packnet_tf import states
from packnet_tf.data import open_task
from packnet_tf.options import TaskOptions
from packnet_tf.preparation import prepare
from packnet_tf.scoring import accuracy
from packnet_tf.workdir import Workdir
from packnet_tf.workflow import TaskRun

_SHARED = flags.DEFINE_string(
    "shared", None, "Folder with data/{birds,cars,flowers} and weights/."
)
_METHOD = flags.DEFINE_enum(
    "method", "packnet", ["packnet", "separate"], "Method."
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Workdir to start from.")
_STATE = flags.DEFINE_integer("state", 1, "Packed state to start from.")
_TASK = flags.DEFINE_string("task", "cars", "Task.")
_RATE = flags.DEFINE_float("learning_rate", 4e-3, "Peak rate of both phases.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of everything random.")

_HELD_OUT = 0.3
_SIZE = 96


def packnet(options, data):
    """Returns the validation accuracies of a task added to a packed state."""
    keras.utils.set_random_seed(options.seed)
    net, _ = states.load(Workdir(_WORKDIR.value), _STATE.value)
    with tempfile.TemporaryDirectory() as folder:
        run = TaskRun(net, data, options, pathlib.Path(folder) / "training")
        return run.run()["metrics"]


def separate(options, data):
    """Returns the validation accuracy of a network of the task's own."""
    weights = f"{_SHARED.value}/weights/mobilenet_0.75_224_imagenet.weights.h5"
    model = train_plain(
        data,
        options,
        weights=weights,
        image_size=_SIZE,
        learning_rate=_RATE.value,
    )
    return {"accuracy": accuracy(model, data.validation)}


def main(_):
    logging.set_verbosity(logging.WARNING)
    options = TaskOptions(
        task=_TASK.value,
        phases=("train", "prune", "retrain"),
        validation_share=_HELD_OUT,
        learning_rate=_RATE.value,
        retrain_learning_rate=_RATE.value,
        seed=_SEED.value,
    )
    opened = open_task(_TASK.value, f"{_SHARED.value}/data/{_TASK.value}")
    data = prepare(opened, _SIZE, options)
    found = {"packnet": packnet, "separate": separate}[_METHOD.value](
        options, data
    )
    row = {
        "method": _METHOD.value,
        "task": _TASK.value,
        "state": _STATE.value,
        "learning_rate": _RATE.value,
        "seed": _SEED.value,
        "validation": found,
    }
    print(json.dumps(row))


if __name__ == "__main__":
    app.run(main)
