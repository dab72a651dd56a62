"""From phase to phase: prune, prune gradually, pack."""

import warnings
from typing import Any

import numpy as np

from packnet_tf.errors import PhaseError, PromiseError
from packnet_tf.layers import MaskedKernel
from packnet_tf.layers.memory import put
from packnet_tf.masks import ownership, pruning
from packnet_tf.masks.precision import subnormal
from packnet_tf.model import fits
from packnet_tf.model.promise import (
    digests_of,
    refuse_not_finite,
    verify_digests,
)
from packnet_tf.model.rounding import round_task
from packnet_tf.model.tasks import TaskBook
from packnet_tf.task import PACKED, RETRAIN, Task


def prune(
    net: Any,
    fraction: float,
    scope: str = "layer",
    granularity: str = "weight",
    *,
    images: Any = None,
) -> Task:
    """Frees the task's smallest weights, and starts its retrain phase.

    With images, the weights that stay are then fitted so that each layer
    answers on them as it did before (docs/reconstruction.md).

    Args:
        fraction: Share of the weights that the task owns now, between 0
            and 1; of each kernel, if ranked by layer and weight, exactly
            `round(fraction * owned)` go, and at least one stays (the paper,
            section 3). Kernels of frozen
            layers (`trainable=False`) keep all but zeros: retraining
            could not make up for what they lose.
        scope: `"layer"` ranks within each kernel, `"global"` over all.
        granularity: `"weight"` ranks single weights by magnitude,
            `"filter"` whole output channels by the mean magnitude of the
            task's weights in them. The fraction is then one of the
            channels in which the task owns a weight, and at least one of
            every kernel stays; weights of older tasks in a freed channel
            stay theirs.
        images: Some hundreds of unlabelled inputs, as the network takes
            them: an array, or a `tf.data.Dataset` of batches, of which
            labels are ignored. The same images give the same bytes.

    Returns:
        The task's record.

    Raises:
        PhaseError: If no task is in training, or it never trained.
        PackNetError: If an argument is not what is expected, a weight
            is NaN, or the images are unsuitable; nothing is changed then.

    Example:

    >>> net.prune(0.5, scope="global", granularity="filter")
    >>> net.prune(0.5, images=train)
    """
    book: TaskBook = net.book
    task = book.in_training("prune")
    if not task.trained:
        raise PhaseError(
            f"Task {task.name!r} has not been trained; call fit() before "
            "prune(), or its weights are ranked by chance."
        )
    _free_smallest(net, task, fraction, scope, granularity, images=images)
    task.phase = RETRAIN
    net.enter(task, new_phase=True)
    return task


def prune_to(
    net: Any,
    fraction: float,
    scope: str = "layer",
    granularity: str = "weight",
) -> Task:
    """Prunes up to a share of what the task claimed; for gradual pruning.

    Unlike `prune` it may be called between the epochs of a running
    `fit`, and keeps the optimizer's slots.

    Args:
        fraction: Share of the claimed weights (or channels) that shall be
            free after the call, between 0 and 1.
        scope: As in `prune`.
        granularity: As in `prune`.
    """
    book: TaskBook = net.book
    task = book.in_training("prune_to")
    _free_smallest(net, task, fraction, scope, granularity, of_claimed=True)
    if task.phase != RETRAIN:
        task.phase = RETRAIN
        net.enter(task)
    net.masks_changed()
    return task


def pack(net: Any) -> Task:
    """Makes the task in training final.

    Its weights are rounded to the network's `packed_precision`. Its mask,
    private variables and head never change again; their digest is
    recorded. Legal after the train phase too: then the task
    keeps all it claimed, and no capacity is left (as the paper does with
    its last task).

    Returns:
        The task's record.

    Raises:
        PhaseError: If no task is in training, or it never trained.
        PromiseError: If an older task has changed, or a free weight is
            not exactly 0.
        TaskError: If a weight of the task is NaN or infinite, or too large
            for the network's `packed_precision`.
    """
    book: TaskBook = net.book
    task = book.in_training("pack")
    if not task.trained:
        raise PhaseError(
            f"Task {task.name!r} has not been trained; call fit() before "
            "pack()."
        )
    net.equalize_replicas()
    verify_digests(book)
    book.refuse_other_masks()
    refuse_not_finite(
        book,
        task,
        "its training diverged. Load the last packed state, or remove the "
        "task and add it again, and train with a lower learning rate.",
    )
    round_task(book, task, net.packed_precision)
    _settle(book, task)
    task.phase = PACKED
    task.digest = digests_of(book, [task])[0]
    book.sealed.keep(task)
    # The slots of the last phase are of no more use.
    net.enter(task, new_phase=True)
    return task


def _free_smallest(
    net: Any,
    task: Task,
    fraction: float,
    scope: str,
    granularity: str,
    of_claimed: bool = False,
    images: Any = None,
) -> None:
    """Frees a task's smallest weights; the arguments are `prune_masks`'s.

    With images, those that stay are fitted; see `prune`.
    """
    book: TaskBook = net.book
    book.refuse_other_masks()
    trained = {id(variable) for variable in net.trainable_variables}
    kernels: list[MaskedKernel] = []
    frozen: list[MaskedKernel] = []
    for kernel, claimed in zip(book.kernels, task.claimed, strict=True):
        if kernel.prunable and claimed:
            still = id(kernel.variable) not in trained
            (frozen if still else kernels).append(kernel)
    if frozen and not kernels:
        warnings.warn(
            f"Nothing was pruned: all layers of which task {task.name!r} owns "
            "weights are frozen (trainable=False). Later tasks can have no "
            "more of them than zeros; set trainable = True and train them "
            "before prune() to leave room.",
            stacklevel=3,
        )
    # All masks are known before anything changes.
    masks = pruning.prune_masks(
        [k.value for k in kernels],
        [k.owners for k in kernels],
        task.owner,
        fraction,
        scope=scope,
        granularity=granularity,
        of_claimed=of_claimed,
        channel_axes=[k.channel_axes for k in kernels],
        names=[k.path for k in kernels],
    )
    for kernel in frozen:
        # Zeros say nothing to this task, and leave room for later ones.
        value, mask = kernel.value, kernel.owners
        masks.append(ownership.release(mask, task.owner, value == 0))
    kernels += frozen
    fitted = None
    if images is not None:
        fitted = fits.after_pruning(net, task, kernels, masks, images)
    bank = book.bank
    if bank.pretrained is None and task.owner == 1:
        bank.pretrained = [k.value for k in book.kernels]
        bank.pretrained_private = [value.copy() for value in bank.live()]
    for place, (kernel, mask) in enumerate(zip(kernels, masks, strict=True)):
        value = kernel.value
        if fitted is not None:
            value = fitted.kernels[place]
        put(kernel.mask, mask)
        # The newest task sees all that is not free.
        put(kernel.variable, ownership.view(value, mask, task.owner))
    if fitted is not None:
        fitted.assign_statistics()
    book.note_masks()


def _settle(book: TaskBook, task: Task) -> None:
    """Refuses free weights that are not 0, and leaves no odd zeros.

    An optimizer adds a zero update to each protected weight. That makes 0.0 of
    -0.0, and of numbers so small that TensorFlow's threads take them for 0.

    Raises:
        PromiseError: Naming the kernel.
    """
    for kernel in book.kernels:
        value, mask = kernel.value, kernel.owners
        if np.any((mask == ownership.FREE) & (value != 0)):
            raise PromiseError(
                f"Free weights of {kernel.path} are not 0; something "
                "outside the training step wrote to them. Load the last "
                "packed state and train without it."
            )
        odd = np.signbit(value) & (value == 0)
        odd |= subnormal(value) & (mask == task.owner)
        if np.any(odd):
            put(kernel.variable, np.where(odd, value.dtype.type(0), value))
