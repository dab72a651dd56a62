"""Adds three tasks of bundled data to one small network.

  python apps/demo.py

adds MNIST's digits, Fashion-MNIST's clothes and scikit-learn's 8 x 8 digits
to one convolutional network, in about three minutes on two CPU cores, and
ends with the accuracies, the SavedModel, a report with figures, and what to
run next.
"""

import os
import shlex
import sys
from typing import Any

# From the project's root: this folder has an inspect.py, as Python has.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from absl import flags

from apps import process, run_flags
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.serving import ServingConfig
from packnet_tf.options.task import TaskOptions

flags.FLAGS.set_default("workdir", "runs/demo")
run_flags.define_run_flags()

NETWORK = NetworkOptions(network="cnn", weights="none", image_size=28)
TASKS = ("mnist", "fashion", "digits")
TRAINING: dict[str, Any] = {
    "train_epochs": 4,
    "retrain_epochs": 3,
    "batch_size": 64,
    "learning_rate": 3e-3,
    "retrain_learning_rate": 2e-3,
}
NEXT = """
What to run next:
  python apps/evaluate.py --workdir={workdir} --by_class=fashion
  python apps/inspect.py --workdir={workdir}
  python apps/add_task.py --workdir={workdir} --task=NAME --data=FOLDER
The last adds a task of yours; --help says what FOLDER holds."""


def main() -> None:
    path = run_flags.workdir_path(writing=True)
    serving = ServingConfig(**run_flags.values(ServingConfig))
    process.load()

    from packnet_tf.data import open_task
    from packnet_tf.model.freed_memory import keep_freed_memory
    from packnet_tf.report.write import closing_line
    from packnet_tf.storage.workdir import Workdir
    from packnet_tf.workflow import report
    from packnet_tf.workflow.run_config import facts_of
    from packnet_tf.workflow.session import Session

    workdir = Workdir(path)
    workdir.compare(facts_of(NETWORK))
    strategy = run_flags.make_strategy()
    keep_freed_memory()
    data = [open_task(name, f"bundled:{name}") for name in TASKS]
    session = Session(workdir, NETWORK, serving, strategy)
    print(
        f"{len(TASKS)} tasks in one small network; this takes about three "
        "minutes on two CPU cores.",
        flush=True,
    )
    for task in data:
        options = TaskOptions(task=task.name, **TRAINING)
        print(f"{task.name}: {task.classes} classes", flush=True)
        outcome = session.run(task, options)
    print(report.of_run(outcome))
    print(closing_line(workdir))
    print(NEXT.format(workdir=shlex.quote(str(path))))


if __name__ == "__main__":
    process.run(main)
