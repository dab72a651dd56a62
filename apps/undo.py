"""Removes the newest task, renames a task, or goes back to a packed state.

  python apps/undo.py --workdir=runs/m --remove=flowers
  python apps/undo.py --workdir=runs/m --rename=cars=vehicles
  python apps/undo.py --workdir=runs/m --back_to=birds

--remove takes the newest task, packed or in training; its weights are free
again. --back_to goes back to an earlier packed state, by number or name, and
removes everything later. Files of older tasks are never written to. The
SavedModels follow; restart a running server.
"""

import os
import sys

# From the project's root: this folder has an inspect.py, as Python has.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from absl import flags

from apps import process, run_flags
from packnet_tf.errors import FlagError
from packnet_tf.options.fields import Option

for name, text in {
    "remove": "The newest task, packed or in training, to remove.",
    "rename": "OLD=NEW: another name for a packed task.",
    "back_to": "Packed state, by number or name, to go back to.",
}.items():
    run_flags.add(name, str, None, Option(text, basic=True))


def main() -> None:
    flag = flags.FLAGS
    path = run_flags.workdir_path(writing=False)
    given = [
        name
        for name in ("remove", "rename", "back_to")
        if flag[name].value is not None
    ]
    if len(given) != 1:
        raise FlagError(
            "Expected one of --remove, --rename and --back_to; got "
            f"{' and '.join(f'--{name}' for name in given) or 'none'}."
        )
    old, equals, new = (flag.rename or "").partition("=")
    if flag.rename is not None and not (old and equals and new):
        raise FlagError(f"--rename={flag.rename}: expected OLD=NEW.")
    process.load()

    from packnet_tf.storage.workdir import Workdir
    from packnet_tf.workflow import undo

    workdir = Workdir(path)
    if flag.remove is not None:
        done = undo.remove_task(workdir, flag.remove)
    elif flag.rename is not None:
        done = undo.rename_task(workdir, old, new)
    else:
        done = undo.roll_back(workdir, flag.back_to)
    for line in done or ["nothing to do."]:
        print(line)


if __name__ == "__main__":
    process.run(main, "workdir")
