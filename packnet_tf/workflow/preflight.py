"""Refuses a run that cannot work, before it reads data or writes anything.

A run takes minutes to hours, so mistakes are reported at its start.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from packnet_tf.data.task_data import TaskData
from packnet_tf.errors import FlagError, PhaseError, StateError
from packnet_tf.options.fractions import AUTO
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.task import RATES, TaskOptions
from packnet_tf.storage import checkpoints
from packnet_tf.storage.checkpoints import Pruning, TrainingRecord, Value
from packnet_tf.storage.workdir import StateInfo, Workdir
from packnet_tf.workflow.datasets import ImageFacts


def check_run(
    workdir: Workdir,
    network: NetworkOptions,
    options: TaskOptions,
    *,
    base_data: bool,
    again: bool = False,
) -> None:
    """Refuses a task that the workdir cannot continue with.

    Args:
        workdir: The workdir.
        network: Facts of its network.
        options: How to train the task.
        base_data: Whether there are images of the base task.
        again: Whether pruning may be repeated; see `run_phases`.

    Raises:
        FlagError: If the base task cannot be made with these options.
        PhaseError: If a phase that comes first is missing.
        StateError: If another task is in training, or the workdir is
            damaged.
    """
    state = workdir.newest()
    if is_packed(state, options.task):
        return
    if state is None:
        _check_files(network)
        if network.pretrained:
            _check_base(network, options, base_data)
    record = checkpoints.read_record(workdir.training_path)
    if record is not None and is_packed(state, record.name):
        record = None
    if state is None and network.pretrained:
        # So far only the base task can be in training.
        record = None
    check_task_in_training(record, options.task, workdir.training_path)
    check_settings(record, options)
    record = record or TrainingRecord(options.task)
    check_phases(options, begun_again(record) if again else record)


def is_packed(state: StateInfo | None, task: str) -> bool:
    """Whether a packed state has a task.

    Args:
        state: The newest state, or None if there is none yet.
        task: The task's name.
    """
    return state is not None and any(t.name == task for t in state.tasks)


def check_task_in_training(
    record: TrainingRecord | None, task: str, folder: pathlib.Path
) -> None:
    """Refuses a task while another one is in training.

    Args:
        record: The record of the workdir's checkpoint, or None.
        task: The requested task.
        folder: Folder of the checkpoint.

    Raises:
        StateError: Naming the other task.
    """
    if record is not None and record.name != task:
        raise StateError(
            f"The workdir is in the middle of task {record.name!r}; "
            f"finish it first, or remove {folder} to discard it."
        )


_WHOLE_TASK = ("seed", "validation_share", "reads")


def check_settings(record: TrainingRecord | None, options: TaskOptions) -> None:
    """Refuses to continue a task with other settings.

    A phase in progress reaches the same bytes only with the same settings.
    The seed and the validation share hold for the whole task, because others
    would train on images that were held out, and so does what it reads, which
    is decided when it is added. A phase that diverged may
    continue with another learning rate. Where none is given, it continues with
    its own.

    Args:
        record: The record of the workdir's checkpoint, or None.
        options: How to train the task.

    Raises:
        PhaseError: Naming the first flag that differs, and its value.
    """
    if record is None:
        return
    for phase, before in record.settings.items():
        in_progress = record.phase == phase
        for name, value in options.settings(phase).items():
            if not in_progress and name not in _WHOLE_TASK:
                continue
            if name == RATES.get(phase) and (value is None or record.diverged):
                continue
            if name in before and before[name] != value:
                raise PhaseError(
                    f"Task {options.task!r} began its {phase} phase with "
                    f"--{name}={before[name]}, not {value}; continue with the "
                    "same, or remove the task with apps/undo.py "
                    f"--remove={options.task} to start it again."
                )


def check_pruning(
    record: TrainingRecord, options: TaskOptions, fraction: float
) -> None:
    """Refuses to prune a task in another way than it was pruned already.

    Args:
        record: The record of the workdir's checkpoint.
        options: How to train the task, with prune among its phases.
        fraction: The fraction to prune.

    Raises:
        PhaseError: Naming the first flag that differs, and its value.
    """
    if "prune" not in record.done or not record.pruning:
        return
    before = record.pruning[-1]
    gradual = options.gradual_steps
    if options.gradual_epochs is None:
        gradual = before.gradual_epochs
    now = Pruning(
        fraction, options.scope, options.granularity, gradual, options.points
    )
    for flag, value in _flags_of(now).items():
        was = _flags_of(before)[flag]
        if was != value:
            raise PhaseError(
                f"Task {options.task!r} was pruned with --{flag}={was}, not "
                f"{value}; continue with the same, or leave prune out of "
                "--phases; apps/prune.py prunes once more after the retrain "
                "phase."
            )


def _flags_of(pruning: Pruning) -> dict[str, Value]:
    """Returns the flags that a task was pruned with."""
    found = dataclasses.asdict(pruning)
    fraction = found.pop("fraction")
    given = pruning.tolerance is None
    return {"prune_fraction": fraction if given else AUTO, **found}


# What all phases of a task must share.
_IMAGES = (
    "train",
    "validation",
    "resize",
    "crop",
    "flip",
    "box",
    "permutation",
)


def facts_of_images(facts: ImageFacts) -> dict[str, Any]:
    """Returns the facts about a task's images that a record keeps."""
    every = facts.to_json()
    return {name: every[name] for name in _IMAGES}


def check_images(
    record: TrainingRecord, facts: ImageFacts, class_names: Sequence[str]
) -> None:
    """Refuses to continue a task on other images, or on other classes.

    Images that were held out of one phase would be trained on in the next,
    and the head's outputs would change their meaning.

    Args:
        record: The record of the workdir's checkpoint.
        facts: Those of the images given now.
        class_names: Names of their classes, in order.

    Raises:
        PhaseError: Naming the first fact that differs, and its value.
    """
    begun = record.task and record.task.class_names
    pairs = itertools.zip_longest(begun or class_names, class_names)
    for number, (before, name) in enumerate(pairs):
        if before != name:
            raise PhaseError(
                f"Task {record.name!r} was begun on other classes: class "
                f"{number} (counted from 0) was {before!r}, and is now "
                f"{name!r}; give the data with the same names of classes, or "
                f"remove the task with apps/undo.py --remove={record.name} to "
                "start it again."
            )
    now = facts_of_images(facts)
    for name, before in (record.images or {}).items():
        if now.get(name) != before:
            raise PhaseError(
                f"Task {record.name!r} was begun on other images: {name} "
                f"was {before}, and is now {now.get(name)}; give the same "
                "--data and --crop, or remove the task with apps/undo.py "
                f"--remove={record.name} to start it again."
            )


def as_begun(
    workdir: Workdir, task: str, data: TaskData, say: Callable[[str], object]
) -> TaskData:
    """Returns the data with the validation images that a task began with.

    Release 0.1 took them from the training images, also where the data has
    some of its own.

    Args:
        workdir: The workdir, where the task may be in training.
        task: The task's name.
        data: Its data.
        say: Prints a line about it.
    """
    record = checkpoints.read_record(workdir.training_path)
    if (
        record is None
        or record.name != task
        or data.train is None
        or data.validation is None
    ):
        return data
    if record.images is not None:
        counts = map(record.images.get, ("train", "validation"))
        if sum(n for n in counts if isinstance(n, int)) != len(data.train):
            return data
    say(
        f"  {task} began before {data.validation.origin} was used for "
        "validation; it goes on with images taken from the training images"
    )
    return data.without_validation()


def begun_again(record: TrainingRecord) -> TrainingRecord:
    """Returns a record with prune and retrain undone, if both are done.

    Args:
        record: The work done on the task.
    """
    if "retrain" not in record.done or record.phase is not None:
        return record
    done = [phase for phase in record.done if phase == "train"]
    return dataclasses.replace(record, done=done)


def check_phases(options: TaskOptions, record: TrainingRecord) -> None:
    """Refuses phases that cannot follow the work done.

    Args:
        options: The requested phases.
        record: The work done on the task.

    Raises:
        PhaseError: Naming the task, the phase, and the missing one.
    """
    task, done = options.task, [*record.done]
    begun, gradual = record.phase, record.gradual
    for phase in options.phases:
        if phase in done:
            continue
        if begun not in (None, phase):
            raise PhaseError(
                f"Task {task!r} is in its {begun} phase, after epoch "
                f"{record.epoch}; finish that before {phase}, with "
                f"--phases={begun},{phase}."
            )
        if phase != "train" and "train" not in done:
            raise PhaseError(
                f"Task {task!r} has not been trained, which comes before "
                f"{phase}; use --phases=train,{phase}."
            )
        if phase == "pack" and gradual and "retrain" not in done:
            raise PhaseError(
                f"Task {task!r} will be pruned over {len(gradual)} epochs of "
                "retraining; retrain it before pack, with "
                "--phases=retrain,pack."
            )
        done.append(phase)
        begun = None


def _check_base(network, options, base_data: bool) -> None:
    if options.task == network.base_task:
        raise FlagError(
            f"--task={options.task} is the name of the base task, which is "
            "the network's own; choose another, or name the base task with "
            "--base_task."
        )
    if network.base_recovery == "data" and not base_data:
        raise FlagError(
            "--base_recovery=data needs the base task's images; give "
            "--base_data, or use --base_recovery=none."
        )


def _check_files(network) -> None:
    for flag in ("network", "weights"):
        value = getattr(network, flag)
        if value.startswith("file:"):
            # A workdir identifies a file by its content, not its path.
            raise FlagError(
                f"The workdir was begun with the file {value.split(':')[1]} "
                f"and has no packed state yet; give it again, with --{flag}."
            )
