"""Changes of mind that no older task can notice: remove, rename."""

from typing import Any

from packnet_tf.errors import PhaseError, TaskError
from packnet_tf.model.claim import give_back
from packnet_tf.model.promise import verify_digests
from packnet_tf.model.tasks import TaskBook
from packnet_tf.task import Task, check_task_name


def remove_task(net: Any, name: str) -> None:
    """Removes the newest task, packed or not; its weights are free again.

    The network is then what it was before the task was added, byte for
    byte, and the task before it is active. Older tasks cannot be removed
    while later ones use their weights.

    Args:
        name: The newest task's name.

    Raises:
        TaskError: If there is no such task, or later ones were added.
        PhaseError: If it is the first task: its training began with the
            network itself, which cannot be had back.
        PromiseError: If a packed task has changed.

    Example:

    >>> net.remove_task("flowers")
    >>> net.add_task("flowers", classes=102)  # another try
    """
    book: TaskBook = net.book
    task = book.named(name)
    later = [other.name for other in book.records[task.owner :]]
    if later:
        raise TaskError(
            f"Task {name!r} is not the newest, and later tasks use its "
            f"weights; remove {', '.join(reversed(later))} first."
        )
    if task.owner == 1:
        raise PhaseError(
            f"Task {name!r} is the first, and the network was trained "
            "with it; make a new PackNet instead."
        )
    verify_digests(book)
    net.activate(book.records[-2].name)
    give_back(book.kernels, task.owner)
    book.note_masks()
    book.drop_newest()
    # The next task gets the same number, and must not get its programs.
    net.drop_programs("train", "test", "predict")
    net.start_phase()
    verify_digests(book)


def rename_task(net: Any, old: str, new: str) -> Task:
    """Gives a task another name, at any time; nothing else changes.

    Args:
        old: The task's name.
        new: What it shall be called.

    Returns:
        The task's record.

    Raises:
        TaskError: If there is no task `old`, or if `new` is taken or
            cannot be used.
    """
    task = net.task(old)
    check_task_name(new)
    if new != old and any(other.name == new for other in net.tasks):
        raise TaskError(
            f"Task {new!r} exists already; choose another name for {old!r}."
        )
    task.name = new
    return task
