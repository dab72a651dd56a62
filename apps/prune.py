r"""Prunes the task in training: the prune phase by itself.

  python apps/add_task.py --workdir=runs/m --task=birds --data=PATH \
      --phases=train
  python apps/prune.py --workdir=runs/m --task=birds --data=PATH \
      --prune_fraction=0.5
  python apps/retrain.py --workdir=runs/m --task=birds --data=PATH
  python apps/add_task.py --workdir=runs/m --task=birds --data=PATH \
      --phases=pack

Prune and retrain may be repeated before the task is packed.
"""

import functools
import os
import sys

# From the project's root: this folder has an inspect.py, as Python has.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from apps import process, run_flags, task_app

run_flags.define_network_flags(basic=False)
run_flags.define_task_flags(phases=("prune",), gradual_epochs=0)

if __name__ == "__main__":
    process.run(functools.partial(task_app.main, again=True), "workdir", "task")
