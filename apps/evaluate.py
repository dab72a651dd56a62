"""Evaluates every packed task on its test data, as a table.

  python apps/evaluate.py --workdir=runs/m
  python apps/evaluate.py --workdir=runs/m --data=imagenet=PATH

Each task is evaluated on the test split of the data it was trained on;
--data=NAME=PATH, repeatable, gives another place for a task's data.
--by_class=NAME, repeatable, shows each class of a task too.
"""

import os
import sys

# From the project's root: this folder has an inspect.py, as Python has.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from absl import flags

from apps import process, run_flags
from packnet_tf.options.fields import Option

run_flags.define_run_flags(basic=False)
run_flags.define_test_data_flags()
run_flags.add(
    "by_class",
    list,
    [],
    Option(
        "Task to show class by class too: accuracy, and what each class is "
        "most often mistaken for. Repeatable.",
        basic=True,
    ),
)
run_flags.define_state_flag()


def main() -> None:
    path = run_flags.workdir_path(writing=False)
    places = run_flags.pairs("data")
    flag = flags.FLAGS
    run_flags.check_replicas(flag.batch_size)
    process.load()

    from packnet_tf.storage.workdir import Workdir
    from packnet_tf.workflow import report, shared_workdir
    from packnet_tf.workflow.evaluate import evaluate_tasks

    workdir = Workdir(path)
    strategy = run_flags.make_strategy()
    # A task may be in training in another job meanwhile.
    shared_workdir.look_again(workdir, strategy, training=False)
    with strategy.scope():
        rows = evaluate_tasks(
            workdir,
            places,
            which=flag.state,
            data_dir=flag.data_dir,
            batch_size=flag.batch_size,
            in_detail=flag.by_class,
        )
    print(report.of_evaluation(rows))
    for row in rows:
        if row.by_class:
            print(f"\n{report.of_classes(row)}")


if __name__ == "__main__":
    process.run(main, "workdir")
