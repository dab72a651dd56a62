"""Adding a task: a head of its own, and a claim to all free weights."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from packnet_tf.errors import CapacityError, PhaseError, TaskError
from packnet_tf.layers import MaskedKernel
from packnet_tf.layers.memory import put, tensor_of
from packnet_tf.masks import ownership
from packnet_tf.masks.aligned import aligned_copy
from packnet_tf.model import fits, heads
from packnet_tf.model.losses import check_activation
from packnet_tf.model.tasks import TaskBook
from packnet_tf.task import ALL, READS, Task, check_task_name

ORIGINS = ("auto", "zero", "pretrained", "random")
# Those that start from the unpruned network, where it is known.
_PRETRAINED = ("auto", "pretrained")
# Labels above it are not exact in float32, as which they often come.
MOST_CLASSES = 2**24


def add_task(
    net: Any,
    name: str,
    classes: int | None = None,
    *,
    class_names: Sequence[str] | None = None,
    activation: str = "softmax",
    head: keras.Layer | None = None,
    origin: str = "auto",
    seed: int = 0,
    images: Any = None,
    reads: str = ALL,
) -> Task:
    """Adds a task: a new head, and all free weights for its own.

    Args:
        name: Its name; it becomes a file and signature name.
        classes: Number of classes, or of the numbers that a regression
            gives; 0 for a base task without a head, whose outputs are
            the features. May be left out with `head`.
        class_names: Names in the order of the logits.
        activation: Keras name of the activation behind the logits:
            `"softmax"` for one class out of several, `"sigmoid"` for
            several at once (or one, yes or no), `"linear"` for
            regression or a loss with `from_logits=True`.
        head: A head of your own instead of one linear `Dense` layer: a
            Keras layer or small model that takes the backbone's features
            as they are (not flattened) and gives outputs of which the
            last number is `classes`. The task gets a copy. If the head
            is built, its weights are copied, and the task counts as
            trained.
        origin: Where the claimed weights start, from the second task
            on: `"zero"` (the authors' code), `"pretrained"` (the value
            that this very weight had before the base task was pruned),
            `"random"` (small values), or `"auto"`: pretrained where
            `pretrained_kernels` are known, else zero. The first task
            starts from the network as it is. Private variables that are
            a task's own start from those of the base task, with a
            pretrained origin from their values before it was pruned.
        seed: For `origin="random"` and the new head.
        images: For a pretrained origin: inputs as in `prune`. Where the base
            task was fitted when it was pruned, its weights are no longer
            the pretrained ones; the new task's are then fitted so that each
            layer answers as in the network before it was pruned.
        reads: `"all"`: the task computes with the weights of all older tasks
            beside its own (the paper), `"base"`: with those of the first
            task alone, which is as if the others were not there. What other
            tasks learned helps a task like them, and disturbs others.

    Returns:
        The task's record.

    Raises:
        PhaseError: If another task is not packed yet.
        TaskError: If the name is taken or cannot be used, an option is not
            one of those, or the head, the classes and the backbone's features
            do not fit.
        CapacityError: If no weights are free, or 255 tasks exist.
        DataError: If the images are unsuitable.
        StateError: If the unpruned kernels of a packed state can no longer be
            read. Nothing is changed then.
    """
    book: TaskBook = net.book
    check_new_name(book.records, name)
    _check_room(book, name)
    if origin not in ORIGINS:
        raise TaskError(
            f"origin={origin!r}: expected auto, zero, pretrained or random."
        )
    if reads not in READS:
        raise TaskError(f"reads={reads!r}: expected all or base.")
    if not _is_whole(seed) or seed < 0:
        raise TaskError(f"seed={seed!r}: expected a whole number, 0 or more.")
    if origin == "pretrained" and book.bank.pretrained is None:
        raise TaskError(
            "origin='pretrained' needs the kernels from before the base "
            "task was pruned; set pretrained_kernels, or use 'zero'."
        )
    owner = len(book.records) + 1
    pretrained = book.bank.pretrained if owner > 1 else None
    if images is not None and (pretrained is None or origin not in _PRETRAINED):
        raise TaskError(
            f"images= of task {name!r}: they serve to fit the start of a task "
            "with a pretrained origin, which this one has not; leave them out."
        )
    task = Task(
        name=name,
        owner=owner,
        classes=_checked_classes(name, classes),
        class_names=_checked_names(name, class_names),
        activation=check_activation(activation, name),
        trained=(owner == 1 and classes == 0) or heads.has_weights(head),
        reads=reads,
    )
    new_head = net.make_head(task, head, seed)
    if task.class_names and len(task.class_names) != task.classes:
        raise TaskError(
            f"Task {name!r} has {task.classes} classes but "
            f"{len(task.class_names)} class names."
        )
    book.turns.refuse_others("add_task()")
    net.keep_active()
    try:
        task.claimed = claim_free(
            book.kernels, owner, origin, book.bank.pretrained, seed
        )
    except BaseException:
        if owner > 1:
            give_back(book.kernels, owner)
        raise
    book.note_masks()
    book.add(
        task,
        new_head,
        pretrained=origin in _PRETRAINED and net.private == "per_task",
    )
    active = book.active
    net.enter(task, new_phase=True)
    if images is not None:
        _fit_start(net, task, pretrained, images, active)
    return task


def _fit_start(net, task, pretrained, images, active) -> None:
    """Fits a new task's start, or takes the task back."""
    try:
        fitted = fits.to_pretrained(net, task, pretrained, images)
    except BaseException:
        net.remove_task(task.name)
        net.activate(active.name)
        raise
    for kernel, value in zip(net.masked_kernels(), fitted.kernels, strict=True):
        put(kernel.variable, value)
    fitted.assign_statistics()


def claim_free(
    kernels: Sequence[MaskedKernel],
    owner: int,
    origin: str,
    pretrained: Sequence[np.ndarray] | None,
    seed: int,
) -> tuple[int, ...]:
    """Gives all free weights to a task, and the values they start from.

    Args:
        kernels: The masked kernels.
        owner: The task's number; the first one's weights stay as they are.
        origin: As in `add_task`.
        pretrained: The kernels before the base task was pruned, if known.
        seed: For the origin `"random"`.

    Returns:
        For each kernel, how many weights the task has claimed.
    """
    claimed = []
    random = np.random.default_rng(seed)
    for index, kernel in enumerate(kernels):
        mask, value = kernel.owners, kernel.value
        zero = np.zeros((), value.dtype)  # Added, it makes 0.0 of -0.0.
        source, scale = None, 0.0
        if owner == 1:
            source = value
        elif origin in _PRETRAINED and pretrained is not None:
            source = np.asarray(pretrained[index])
        elif origin == "random":
            scale = 0.1 * float(value.std())
        new = aligned_copy(value)
        # By blocks, as a large kernel has no room beside it for several.
        for block in ownership.blocks(new.size):
            start = zero
            if source is not None:
                start = source.reshape(-1)[block] + zero
            elif origin == "random":
                start = random.normal(0, scale, block.stop - block.start)
            free = mask.reshape(-1)[block] == ownership.FREE
            np.copyto(
                new.reshape(-1)[block], start, casting="same_kind", where=free
            )
        claimed.append(int(mask.size - np.count_nonzero(mask)))
        put(kernel.mask, ownership.claim(mask, owner))
        kernel.variable.assign(tensor_of(new))
    return tuple(claimed)


def give_back(kernels: Sequence[MaskedKernel], owner: int) -> None:
    """Frees all weights of the newest task, which are then 0.

    Args:
        kernels: The masked kernels.
        owner: The task's number, 2 or more.
    """
    for kernel in kernels:
        value, mask = kernel.value, kernel.owners
        # The task before sees all that is left.
        put(kernel.variable, ownership.view(value, mask, owner - 1))
        put(kernel.mask, ownership.release(mask, owner))


def check_new_name(tasks: Sequence[Task], name: str) -> None:
    """Raises a TaskError if no new task may be called that."""
    check_task_name(name)
    if any(task.name == name for task in tasks):
        raise TaskError(
            f"Task {name!r} exists already; choose another name, or "
            "activate() it."
        )


def _checked_classes(name: str, classes: Any) -> int:
    """Returns the number of classes, `OPEN` for None.

    Raises:
        TaskError: If it is not a whole number from 0 to `MOST_CLASSES`.
    """
    if classes is None:
        return heads.OPEN
    if _is_whole(classes) and 0 <= classes <= MOST_CLASSES:
        return int(classes)
    raise TaskError(
        f"Task {name!r} has classes={classes!r}; expected 1 or more, a whole "
        f"number up to {MOST_CLASSES:,} (0 for a base task without a head)."
    )


def _checked_names(name: str, names: Any) -> tuple[str, ...] | None:
    """Returns the names of the classes.

    Raises:
        TaskError: If they are not a sequence of strings.
    """
    if names is None:
        return None
    try:
        found = None if isinstance(names, (str, bytes)) else tuple(names)
    except TypeError:
        found = None
    if found is None or not all(isinstance(each, str) for each in found):
        raise TaskError(
            f"Task {name!r} has class_names={names!r}; expected a list of "
            "strings, one for each class."
        )
    return tuple(map(str, found))


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _check_room(book: TaskBook, name: str) -> None:
    newest = book.newest
    if newest is not None and not newest.packed:
        raise PhaseError(
            f"Task {newest.name!r} is in its {newest.phase} phase; "
            f"pack() it before adding {name!r}."
        )
    if len(book.records) >= ownership.MAX_TASKS:
        raise CapacityError(
            f"The network holds {ownership.MAX_TASKS} tasks, the most "
            f"that masks can number; {name!r} needs another network."
        )
    if newest is not None:
        ownership.check_free(name, book.capacity())
