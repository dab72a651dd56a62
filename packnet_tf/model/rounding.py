"""Rounds a task, as it is packed, to the precision that it is stored in."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from packnet_tf.layers.memory import tensor_of
from packnet_tf.masks.precision import rounded
from packnet_tf.model.tasks import TaskBook
from packnet_tf.options.network import PRECISIONS
from packnet_tf.task import Task


def round_task(book: TaskBook, task: Task, precision: str) -> None:
    """Rounds the weights, private variables and head of a task.

    Args:
        book: The network's tasks.
        task: The task, about to be packed.
        precision: One of `options.network.PRECISIONS`.

    Raises:
        TaskError: If a number is too large for it; nothing is changed then.
    """
    if precision == PRECISIONS[0]:
        return
    for assigns in (False, True):
        for variable, name, mine in _owned(book, task):
            value = np.asarray(variable)
            new = rounded(value, precision, name)
            if assigns and new is not value:
                if mine is not None:
                    np.copyto(new, value, where=~mine)
                variable.assign(tensor_of(new))


def _owned(
    book: TaskBook, task: Task
) -> Iterator[tuple[Any, str, np.ndarray | None]]:
    """Yields variables, their names, and which of their values are owned."""
    for kernel in book.kernels:
        mine = kernel.owners == task.owner
        if mine.any():
            yield kernel.variable, kernel.path, mine
    for storage, variable in zip(
        book.bank.storage(task.owner), book.bank.variables, strict=True
    ):
        yield storage, variable.path, None
    for variable in book.heads[task.owner - 1].weights:
        yield variable, variable.path, None
