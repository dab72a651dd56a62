"""Digests compared: the proof that packed tasks are what they were."""

from collections.abc import Iterator, Sequence

import numpy as np

from packnet_tf.errors import PromiseError, TaskError
from packnet_tf.masks import digests, ownership
from packnet_tf.model.tasks import TaskBook
from packnet_tf.task import Task


def digests_of(book: TaskBook, tasks: Sequence[Task]) -> list[str]:
    """Returns the digests of tasks as they are now (hexadecimal SHA-256).

    Args:
        book: The network's tasks.
        tasks: Those of them that are asked for.
    """
    book.check_whole()
    if not tasks:
        return []
    owned = digests.kernel_digests(
        [(k.value, k.owners) for k in book.kernels],
        max(task.owner for task in tasks),
    )
    constants = [np.asarray(v) for v in book.bank.constants]
    return [
        digests.task_digest(
            owned[: task.owner],
            task.since,
            book.private_values(task),
            constants,
            [np.asarray(v) for v in book.heads[task.owner - 1].weights],
        )
        for task in tasks
    ]


def verify_digests(book: TaskBook) -> None:
    """Compares every packed task with what it was when it was packed.

    Args:
        book: The network's tasks.

    Raises:
        PromiseError: Naming the tasks that differ, or the layer and the
            setting that do.
    """
    packed = book.packed
    changed = [
        task.name
        for task, digest in zip(packed, digests_of(book, packed), strict=True)
        if digest != task.digest
    ]
    if changed:
        raise PromiseError(
            f"Packed task(s) {', '.join(changed)} have changed since they "
            "were packed (by set_weights, a callback or a training loop "
            "of your own?); load the last packed state."
        )
    book.sealed.refuse_changed(packed)


def refuse_not_finite(book: TaskBook, task: Task, remedy: str) -> None:
    """Refuses a task with weights that are NaN or infinite.

    Args:
        book: The network's tasks.
        task: The task: its view, private variables and head are looked at.
        remedy: What to do instead, for the message.

    Raises:
        TaskError: Naming the first such variable.
    """
    for name, value in _values_of(book, task):
        if value.dtype.kind not in "biu" and not np.isfinite(value).all():
            count = np.count_nonzero(~np.isfinite(value))
            raise TaskError(
                f"Task {task.name!r}: {count} of the {value.size} numbers of "
                f"{name} are NaN or infinite; {remedy}"
            )


def _values_of(book: TaskBook, task: Task) -> Iterator[tuple[str, np.ndarray]]:
    """Yields path and value of all that a task is made of."""
    for kernel in book.kernels:
        value = kernel.value
        yield (
            kernel.path,
            ownership.view(value, kernel.owners, task.owner, task.since),
        )
    for variable, value in zip(
        book.bank.variables, book.private_values(task), strict=True
    ):
        yield variable.path, value
    for variable in book.heads[task.owner - 1].weights:
        yield variable.path, np.asarray(variable)
