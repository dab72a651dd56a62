r"""Retrains a pruned task: the retrain phase by itself.

It follows apps/prune.py, and may be run again.

  python apps/retrain.py --workdir=runs/m --task=birds --data=PATH \
      --retrain_epochs=20
"""

import os
import sys

# From the project's root: this folder has an inspect.py, as Python has.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from apps import process, run_flags, task_app

run_flags.define_network_flags(basic=False)
run_flags.define_task_flags(phases=("retrain",))

if __name__ == "__main__":
    process.run(task_app.main, "workdir", "task")
