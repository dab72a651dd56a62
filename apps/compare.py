r"""Compares PackNet with other methods on your tasks, with one budget.

  python apps/compare.py --workdir=runs/compared --tasks=birds,cars,flowers \
      --data=birds=PATH --data=cars=PATH --data=flowers=PATH

Every method sees the same images in the same order, for as many epochs
(--train_epochs and --retrain_epochs together). Its learning rate is the one
of --learning_rates with the best validation accuracy; the test images are
read only after that. The table, a comparison.json and, after each cell (a
method with a rate and a seed), the time left go to --workdir and the
terminal. Interrupted, the same command goes on with the next cell; methods
and seeds can be added later. docs/compare.md says what each method is.
"""

import os
import sys

# From the project's root: this folder has an inspect.py, as Python has.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from absl import flags

from apps import process, run_flags
from packnet_tf.errors import FlagError
from packnet_tf.options.compare import NOT_COMPARED, OF_A_CELL, CompareOptions
from packnet_tf.options.data import DataOptions, task_name
from packnet_tf.options.fields import DATA, Option
from packnet_tf.options.fractions import EQUAL_SHARE
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.task import TaskOptions, check_batch_size
from packnet_tf.task import check_task_name

# Flags with a value for each task, as NAME=VALUE.
_OF_A_TASK = ("data", "image_key", "label_key")

run_flags.define(CompareOptions)
run_flags.define(NetworkOptions, without=NOT_COMPARED)
run_flags.define(TaskOptions, without=OF_A_CELL)
run_flags.add(
    "data",
    list,
    [],
    Option(
        "NAME=PLACE: where a task's images are; places as in "
        "apps/add_task.py. Repeatable.",
        group=DATA,
        basic=True,
    ),
)
for what in ("image", "label"):
    run_flags.add(
        f"{what}_key",
        list,
        [],
        Option(
            f"NAME=FEATURE: TFDS feature of a task's {what}; by default "
            f"{what}. Repeatable.",
            group=DATA,
        ),
    )
run_flags.define(DataOptions, without=("crop", *_OF_A_TASK))


def main() -> None:
    # Quick checks come first: the flags, then the data, then the network.
    compare = CompareOptions(**run_flags.values(CompareOptions))
    path = run_flags.workdir_path(writing=True)
    network = NetworkOptions(
        **run_flags.values(NetworkOptions, without=NOT_COMPARED)
    )
    trained = run_flags.values(TaskOptions, without=OF_A_CELL)
    if str(trained["prune_fraction"]).strip() == EQUAL_SHARE:
        trained["planned_tasks"] = len(compare.tasks)
    options = TaskOptions(task="-", **trained)
    check_batch_size(options.batch_size)
    for task in compare.tasks:
        check_task_name(task_name(task))
    own = {key: run_flags.pairs(key) for key in _OF_A_TASK}
    for key, given in own.items():
        for name, value in given.items():
            if name not in compare.tasks:
                raise FlagError(
                    f"--{key}={name}={value}: {name!r} is not one of "
                    f"--tasks={','.join(compare.tasks)}."
                )
    process.load()

    from packnet_tf import console
    from packnet_tf.compare.folder import Folder
    from packnet_tf.compare.run import Comparison
    from packnet_tf.compare.table import text_of
    from packnet_tf.data import check, open_task
    from packnet_tf.model.freed_memory import keep_freed_memory

    flag = flags.FLAGS
    Folder(path)  # Refuses the workdir of a network.
    keep_freed_memory()
    data = []
    for task in compare.tasks:
        with console.bar(f"opening {task}") as progress:
            opened = open_task(
                task,
                own["data"].get(task),
                data_dir=flag.data_dir,
                image_key=own["image_key"].get(task),
                label_key=own["label_key"].get(task),
                progress=progress,
            )
        with console.bar(task) as progress:
            data.append(
                check(
                    opened,
                    options.batch_size,
                    skip_corrupt=flag.skip_corrupt,
                    say=print,
                    progress=progress,
                )
            )
    summary = Comparison(path, data, network, options, compare).run()
    print()
    print(text_of(summary))
    print(f"\ntable         {Folder(path).json_path}")
    print(f"report        python apps/report.py --comparison={path}")


if __name__ == "__main__":
    process.run(
        main,
        "workdir",
        "tasks",
        kept="finished cells are kept, the one in progress is run again",
    )
