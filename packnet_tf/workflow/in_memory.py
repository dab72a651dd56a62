"""Runs a task's phases in a network that has no workdir."""

import dataclasses
import pathlib
from collections.abc import Callable

from packnet_tf.model.packnet import PackNet
from packnet_tf.options.task import TaskOptions
from packnet_tf.storage import checkpoints
from packnet_tf.storage.checkpoints import TrainingRecord
from packnet_tf.workflow.datasets import Prepared
from packnet_tf.workflow.task_run import TaskRun, run_phases


def pack_in_memory(
    net: PackNet,
    data: Prepared,
    options: TaskOptions,
    number: int,
    folder: pathlib.Path,
    say: Callable[[str], None] = print,
) -> TrainingRecord:
    """Adds a task and runs its phases, without a state of it on disk.

    Args:
        net: The network, which changes.
        data: The task's data, which has its name.
        options: How to train it, whatever task they name.
        number: The number of the added task, from 1.
        folder: For the checkpoint, which is removed in the end.
        say: Prints a line of progress.

    Returns:
        The record, with the task's figures.

    Raises:
        PackNetError: As `run_phases`.
    """
    run = TaskRun(
        net,
        TrainingRecord(data.name),
        folder / "training",
        say=say,
        data=data,
        options=dataclasses.replace(options, task=data.name),
        number=number,
    )
    record = run_phases(run)
    checkpoints.remove(run.folder)
    return record
