"""Writes a packed state as a SavedModel again, or one task as a plain model.

  python apps/export.py --workdir=runs/m --state=3 --output=PATH
  python apps/export.py --workdir=runs/m --task=cars --output=PATH
  python apps/export.py --workdir=runs/m --task=cars --format=onnx --output=PATH
  python apps/export.py --workdir=runs/m --stable=4

Without --output the state becomes a version of the workdir's served model.
A plain model is written by Keras, then loaded and compared with it.
--stable moves a label of the served model, and writes no model.
"""

import contextlib
import os
import sys

# From the project's root: this folder has an inspect.py, as Python has.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from absl import flags

from apps import process, run_flags
from packnet_tf.errors import FlagError
from packnet_tf.options.fields import SERVING, Option
from packnet_tf.options.serving import ServingConfig

# Options of packing alone.
_OF_A_COMMIT = ("keep_states",)

run_flags.define_state_flag()
run_flags.add(
    "task",
    str,
    None,
    Option("One task alone, as a plain model.", basic=True),
)
run_flags.add(
    "output", str, None, Option("The file or folder to write.", basic=True)
)
run_flags.add(
    "format",
    str,
    "saved_model",
    Option(
        "Of one task: saved_model, keras, litert or onnx; the last two need "
        "the extras of their names.",
        basic=True,
    ),
)
run_flags.add(
    "stable",
    int,
    None,
    Option(
        "Version to which the served model's label stable moves.",
        group=SERVING,
        basic=True,
    ),
)
run_flags.define(ServingConfig, without=_OF_A_COMMIT)


# The flags that each way of exporting does not use.
_USELESS = {
    "stable": ("task", "state", "output", "format", "serving_layout"),
    "task": ("model_name", "serving_layout"),
    "output": ("model_name",),
}


def main() -> None:
    path = run_flags.workdir_path(writing=False)
    _check()
    config = ServingConfig(
        **run_flags.values(ServingConfig, without=_OF_A_COMMIT)
    )
    process.load()

    from packnet_tf.serving import export
    from packnet_tf.storage.workdir import Workdir
    from packnet_tf.workflow import report

    flag = flags.FLAGS
    workdir = Workdir(path)
    state = flag.state
    output = None if flag.output is None else run_flags.path_of("output")
    # Refuses a missing state before the lock leaves its file in a folder.
    workdir.state(state)
    if flag.stable is not None:
        with workdir.lock():
            print(export.set_stable(workdir, flag.stable, config))
        return
    if flag.task is not None:
        if output is None:
            raise FlagError("--task needs --output, the file to write.")
        done = export.export_task(
            workdir, flag.task, output, form=flag.format, which=state
        )
    else:
        # Only writing into the workdir itself needs its lock.
        with workdir.lock() if output is None else contextlib.nullcontext():
            done = export.export_state(
                workdir, state, output=output, config=config
            )
    print(report.of_export(done))


def _check() -> None:
    """Refuses flags that exclude each other."""
    flag = flags.FLAGS
    for name, useless in _USELESS.items():
        given = [other for other in useless if flag[other].present]
        if flag[name].present and given:
            raise FlagError(
                f"--{given[0]} has no effect with --{name}; leave it out."
            )
    if flag.task is None and flag.format != "saved_model":
        raise FlagError(
            f"--format={flag.format} is for one task; name it with --task."
        )
    if flag.output == "":
        raise FlagError("--output=: expected a file or folder to write.")


if __name__ == "__main__":
    process.run(main, "workdir")
