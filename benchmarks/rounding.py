"""What `--packed_precision` costs in accuracy.

  python benchmarks/accuracy.py --shared=PATH --method=packnet --workdir=runs/0
  python benchmarks/rounding.py --shared=PATH --workdirs=runs/0,runs/1,runs/2

takes every task of the newest state of networks that were packed in float32,
rounds all that it is made of to 16 bits, and prints the test accuracies beside
each other; `benchmarks/rounding.json` has all of them.
"""

import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
from absl import app, flags, logging

from packnet_tf import console
from packnet_tf.compare import intervals
from packnet_tf.data import evaluation, open_task
from packnet_tf.masks.precision import rounded
from packnet_tf.model.extract import extract
from packnet_tf.options.network import PRECISIONS
from packnet_tf.storage import states
from packnet_tf.workflow.metrics import accuracy

_SHARED = flags.DEFINE_string("shared", None, "Folder with data/.")
_WORKDIRS = flags.DEFINE_list("workdirs", [], "Workdirs of accuracy.py.")
_FILE = pathlib.Path(__file__).with_suffix(".json")
_SIZE = 96


def measure(workdir: str) -> dict[str, dict[str, float]]:
    """Returns the test accuracies of each task, by precision."""
    net, _ = states.load(workdir, origin=False)
    found = {}
    for task in net.tasks:
        folder = "imagenet_sample" if task.name == "imagenet" else task.name
        opened = open_task(task.name, f"{_SHARED.value}/data/{folder}")
        images = evaluation(opened.test, _SIZE, 32)
        model = extract(net, task.name)
        whole = model.get_weights()
        found[task.name] = {}
        for precision in PRECISIONS:
            model.set_weights([rounded(w, precision, task.name) for w in whole])
            found[task.name][precision] = accuracy(model, images)
    return found


def main(_):
    logging.set_verbosity(logging.WARNING)
    runs = {name: measure(name) for name in _WORKDIRS.value}
    _FILE.write_text(json.dumps(list(runs.values()), indent=1) + "\n")
    tasks = list(next(iter(runs.values())))
    rows = []
    for precision in PRECISIONS:
        shares = [[r[t][precision] for r in runs.values()] for t in tasks]
        lost = np.subtract(
            [[r[t][PRECISIONS[0]] for r in runs.values()] for t in tasks],
            shares,
        )
        added = 100 * lost[[t != "imagenet" for t in tasks]].mean(0)
        deviation = intervals.deviation(list(added)) or 0
        rows.append(
            [
                precision,
                *(f"{np.mean(s):.4f}" for s in shares),
                f"{added.mean():.2f} ±{deviation:.2f}",
            ]
        )
    head = ["precision", *tasks, "points lost by added tasks"]
    print(console.table(head, rows))


if __name__ == "__main__":
    app.run(main)
