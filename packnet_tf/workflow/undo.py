"""Removes the newest task, renames tasks, and rolls a workdir back.

Files of older tasks are never written to. Each step on disk leaves a valid
workdir, and SavedModels are updated last; the next command that adds or undoes
a task finishes an interrupted change.
"""

from packnet_tf import atomic_files
from packnet_tf.errors import PhaseError, StateError, TaskError
from packnet_tf.storage import checkpoints, retention, states
from packnet_tf.storage.renames import write_names
from packnet_tf.storage.workdir import StateInfo, Workdir
from packnet_tf.task import check_task_name
from packnet_tf.workflow.follow import follow
from packnet_tf.workflow.preflight import is_packed


def remove_task(workdir: Workdir, name: str) -> list[str]:
    """Removes the newest task of a workdir, packed or in training.

    Its weights become free; files of older tasks are not touched. A workdir
    whose only task is removed keeps its network for the next one. Calling it
    again finishes an interrupted removal.

    Args:
        workdir: The workdir.
        name: The task's name.

    Returns:
        One line for each thing done.

    Raises:
        TaskError: If there is no such task, or it is not the newest.
        PhaseError: If another task is in training.
        StateError: If the state before it is damaged, or the workdir is in
            use or cannot be written.

    Example:

    >>> remove_task(Workdir("runs/m"), "flowers")
    ['removed runs/m/states/003-flowers', ...]
    """
    with workdir.lock():
        dropped = retention.finish(workdir)
        newest = workdir.newest()
        training = _in_training(workdir, newest)
        if training == name:
            checkpoints.remove(workdir.training_path)
            done = [*dropped, f"dropped {name}, which was not packed yet"]
            return [*done, *follow(workdir)]
        if not is_packed(newest, name):
            done = follow(workdir)
            if done and not dropped:
                return [*done, f"{name} was removed before"]
        if training is not None:
            raise PhaseError(
                f"Task {training!r} is in training; finish it, or remove it "
                f"before {name!r}."
            )
        before = _before(workdir, newest, name)
        return [*dropped, *_back_to(workdir, before)]


def rename_task(workdir: Workdir, old: str, new: str) -> list[str]:
    """Renames a packed task in all states and SavedModels of a workdir.

    The states keep their bytes; only `names.json` is written, atomically.
    Calling it again finishes an interrupted renaming.

    Args:
        workdir: The workdir.
        old: The task's name.
        new: Its new name.

    Returns:
        One line for each thing done.

    Raises:
        TaskError: If there is no packed task `old`, or if `new` is taken or
            invalid.
        StateError: If a state is damaged, or the workdir is in use or cannot
            be written.
    """
    with workdir.lock():
        dropped = retention.finish(workdir)
        newest = workdir.newest()
        training = _in_training(workdir, newest)
        if training == old:
            raise TaskError(
                f"Task {old!r} is in training; pack it before it is renamed."
            )
        if newest is None:
            raise StateError(f"{workdir.path} holds no packed state.")
        if (
            not is_packed(newest, old)
            and is_packed(newest, new)
            and (done := follow(workdir))
            and not dropped
        ):
            return [f"{old} was renamed to {new} before", *done]
        task = newest.task(old)
        check_task_name(new)
        taken = [t.name for t in newest.tasks if t.name != old]
        if new in [*taken, training]:
            raise TaskError(
                f"Task {new!r} exists already; choose another name for {old!r}."
            )
        names = {**workdir.names, task.digest: new}
        write_names(workdir.names_path, names)
        return [*dropped, f"renamed {old} to {new}", *follow(workdir)]


def roll_back(workdir: Workdir, which: str | int) -> list[str]:
    """Goes back to an earlier packed state, removing all later tasks.

    The task in training is removed too. Later states may be damaged.

    Args:
        workdir: The workdir.
        which: The state's number, or its task's name.

    Returns:
        One line for each thing done.

    Raises:
        StateError: If there is no such state or it is damaged, or if the
            workdir is in use or cannot be written.
    """
    with workdir.lock():
        dropped = retention.finish(workdir)
        state = workdir.state(which, past_damage=True)
        return [*dropped, *_back_to(workdir, state)]


def _back_to(workdir: Workdir, state: StateInfo | None) -> list[str]:
    """Removes all after a state, or all states if it is None."""
    number = 0
    if state is not None:
        number = state.number
        # Nothing is removed before the state that stays has been checked.
        states.load_outside(workdir, number, origin=True)
    done = []
    if (workdir.training_path / checkpoints.FILE).exists():
        checkpoints.remove(workdir.training_path)
        done.append("dropped the task in training")
    for folder in reversed(workdir.state_folders()):
        if workdir.number_of(folder) > number:
            atomic_files.remove_folder(folder)
            done.append(f"removed {folder}")
    if state is None:
        done.append(f"kept the network's options, {workdir.run_path}")
    return [*done, *follow(workdir)]


def _before(
    workdir: Workdir, newest: StateInfo | None, name: str
) -> StateInfo | None:
    """Returns the state before the newest task, which must be `name`.

    None if it is the only task.
    """
    if newest is None:
        raise StateError(f"{workdir.path} holds no packed state.")
    newest.task(name)
    if newest.name != name:
        raise TaskError(
            f"Task {name!r} is not the newest, and later tasks use its "
            f"weights; remove {newest.name!r} first."
        )
    states_before = workdir.states()[:-1]
    before = states_before[-1] if states_before else None
    first = 0 if before is None else before.number
    between = [task.name for task in newest.tasks[first:-1]]
    if between:
        or_else = "."
        if before is not None:
            or_else = f", or go back to {before.path.name} (--back_to)."
        number = newest.number - 1
        gone = number in retention.dropped(workdir)
        raise StateError(
            f"{workdir.path} has no state {number:03d}"
            f"{' any more (--keep_states)' if gone else ''}, and without "
            f"{name!r} would lose {', '.join(between)} too; restore it from a "
            f"copy{or_else}"
        )
    return before


def _in_training(workdir: Workdir, newest: StateInfo | None) -> str | None:
    """Returns the name of the task in training, or None."""
    record = checkpoints.read_record(workdir.training_path)
    if record is None:
        return None
    if not is_packed(newest, record.name):
        return record.name
    # A commit was interrupted after the state was written.
    checkpoints.remove(workdir.training_path)
    return None
