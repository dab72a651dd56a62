"""Weights that come back from an earlier epoch, under the masks of now.

Masks are variables too, so that `EarlyStopping(restore_best_weights=True)`, a
callback that keeps the best epoch, or a file of an earlier phase would bring
their masks along and undo what was pruned since.
"""

import contextlib
import copy
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from packnet_tf.errors import PackNetError, StateError, first_line
from packnet_tf.layers.memory import put
from packnet_tf.masks import ownership
from packnet_tf.model import files
from packnet_tf.model.tasks import TaskBook
from packnet_tf.task import PACKED, RETRAIN, TRAIN, Task

_ORDER = (TRAIN, RETRAIN, PACKED)


def set_weights(net: Any, weights: list[np.ndarray]) -> None:
    """Sets all weights; see `keras.Model.set_weights`.

    What was pruned since the weights were taken stays pruned: the masks and
    the phase are those of now.

    Args:
        net: The network.
        weights: What `get_weights` returned.
    """
    with masks_of_now(net.book):
        keras.Model.set_weights(net, weights)


def load_weights(net: Any, filepath: Any, *args: Any, **kwargs: Any) -> None:
    """Loads what `save_weights` wrote, into the same tasks: all or nothing.

    A file of an earlier phase gives its weights alone: what was pruned since
    stays pruned.

    Args:
        net: The network.
        filepath: The file.
        *args: As in `keras.Model.load_weights`.
        **kwargs: The same.

    Raises:
        StateError: If the file is damaged, or of another network.
        TaskError: If the file is of other tasks.
        PromiseError: If a packed task is not what its digest says, or the
            file holds another one of the same name.
    """
    files.check_file(net.book, filepath)
    if net.newest is not None:
        net.activate(net.newest.name)
    try:
        with files.all_or_nothing(net, net.book):
            with masks_of_now(net.book):
                keras.Model.load_weights(net, filepath, *args, **kwargs)
            net.verify_digests()
    except PackNetError:
        raise
    except Exception as error:
        # Damaged content can make Keras raise anything.
        raise StateError(
            f"{filepath} cannot be read: {first_line(error)}"
        ) from error
    finally:
        net.masks_changed()


@contextlib.contextmanager
def masks_of_now(book: TaskBook) -> Iterator[None]:
    """Keeps what is pruned where weights of an earlier epoch or phase return.

    Weights that are free now become 0 again. Those of a later phase, or of an
    epoch in which more was pruned, come with their masks.

    Args:
        book: The network's tasks.
    """
    task = book.newest
    if task is None:
        yield
        return
    if book.weights_missing:
        # The network has only its configuration; the file has the rest.
        yield
        book.note_masks()
        return
    before = copy.copy(task)
    masks = [kernel.owners for kernel in book.kernels]
    yield
    _keep_pruned(book, task, before, masks)
    book.note_masks()


def _keep_pruned(
    book: TaskBook, task: Task, before: Task, masks: Sequence[np.ndarray]
) -> None:
    if _ORDER.index(task.phase) > _ORDER.index(before.phase):
        return
    task.phase = before.phase
    found = [kernel.owners for kernel in book.kernels]
    if all(
        np.all((new == old) | (new == ownership.FREE) & (old == task.owner))
        for new, old in zip(found, masks, strict=True)
    ):
        return
    for kernel, mask in zip(book.kernels, masks, strict=True):
        put(kernel.mask, mask)
        value = kernel.value
        put(kernel.variable, ownership.view(value, mask, task.owner))
    warnings.warn(
        f"Task {task.name!r}: the weights that came back are of an epoch in "
        "which other weights were pruned. The masks stay as they are, and "
        "what is free is 0 again, so that the figures of that epoch do not "
        "hold any more; compare epochs of equal pruning alone, for instance "
        "with EarlyStopping(start_from_epoch=...).",
        stacklevel=5,
    )
