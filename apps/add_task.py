r"""Adds a task to a network: train, prune, retrain, pack, SavedModel.

  python apps/add_task.py --workdir=runs/m --network=mobilenet \
      --task=birds --data=PATH

loads the newest packed state in --workdir, or begins with the base task of
the pretrained network, and ends with a new packed state and its SavedModel
for TensorFlow Serving. Interrupted, the same command goes on where it was;
what is done is not done again. The workdir keeps the network's flags, which
later commands need not repeat. --phases=train,pack adds a last task that
keeps all weights that are left. --list_tasks shows the tasks that need no
--data.
"""

import os
import sys

# From the project's root: this folder has an inspect.py, as Python has.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from absl import flags

from apps import process, run_flags, task_app
from packnet_tf.options.fields import DATA, Option

run_flags.define_network_flags()
run_flags.define_task_flags()
run_flags.add(
    "list_tasks",
    bool,
    False,
    Option(
        "Print the tasks known by name, and stop.",
        group=DATA,
        basic=True,
    ),
)


def main() -> None:
    if flags.FLAGS.list_tasks:
        process.load()
        from packnet_tf.data.registry import table

        print(table())
    else:
        task_app.main()


if __name__ == "__main__":
    process.run(main, "workdir", "task", unless="list_tasks")
