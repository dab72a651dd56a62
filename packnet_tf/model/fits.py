"""Fits a task's weights so that its network answers as another one did."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from packnet_tf import console
from packnet_tf.layers import MaskedKernel
from packnet_tf.masks import ownership
from packnet_tf.reconstruct import (
    Change,
    Normalization,
    may_fit,
    reconstruct,
)
from packnet_tf.task import Task
from packnet_tf.tf_internals.layers import layers_of


@dataclasses.dataclass(frozen=True)
class Fit:
    """What a fit found; nothing is assigned yet.

    Attributes:
        kernels: Values of the kernels that were asked for.
        statistics: Variables of normalizations, with their values.
    """

    kernels: list[np.ndarray]
    statistics: list[tuple[keras.Variable, np.ndarray]]

    def assign_statistics(self) -> None:
        """Writes the statistics."""
        for variable, value in self.statistics:
            variable.assign(value)


def after_pruning(
    net: Any,
    task: Task,
    kernels: Sequence[MaskedKernel],
    masks: Sequence[np.ndarray],
    images: Any,
) -> Fit:
    """Fits kernels that are pruned to new masks to what they were.

    Args:
        net: The network, which is only read.
        task: The task in training, which is active.
        kernels: The kernels that lose weights.
        masks: Their masks after pruning.
        images: As for `PackNet.prune`.
    """
    return _fitted(
        net,
        task,
        [
            Change(kernel, _seen(kernel, task), mask, task.owner)
            for kernel, mask in zip(kernels, masks, strict=True)
        ],
        images,
    )


def to_pretrained(
    net: Any,
    task: Task,
    pretrained: Sequence[np.ndarray],
    images: Any,
) -> Fit:
    """Fits a new task's kernels to those of the unpruned network.

    Args:
        net: The network, which is only read.
        task: The new task, which is active.
        pretrained: The kernels before the base task was pruned.
        images: As for `PackNet.add_task`.
    """
    changes = []
    for kernel, before in zip(net.masked_kernels(), pretrained, strict=True):
        mask = kernel.owners
        now = _seen(kernel, task)
        changes.append(Change(kernel, before, mask, task.owner, now))
    return _fitted(net, task, changes, images)


def _seen(kernel: MaskedKernel, task: Task) -> np.ndarray:
    """Returns a kernel as a task sees it."""
    value, mask = kernel.value, kernel.owners
    return ownership.view(value, mask, task.owner, task.since)


def _fitted(net: Any, task: Task, changes: list[Change], images: Any) -> Fit:
    net.equalize_replicas()
    # Those of frozen layers stay, and those that later tasks share with the
    # first (`private="frozen"`).
    norms = [
        Normalization(layer)
        for layer in layers_of(net.backbone)
        if may_fit(layer)
    ]
    with console.bar("fitting kernels") as report:
        kept = reconstruct(
            net.backbone, changes, images, normalizations=norms, report=report
        )
    if kept:
        warnings.warn(
            f"{', '.join(kept)}: the weights that stay keep their values; "
            "those of recurrent cells, and of layers with a call() of their "
            "own, are not fitted.",
            stacklevel=4,
        )
    values = [c.start if c.fitted is None else c.fitted for c in changes]
    if task.since > 2:
        # What the task does not see stays as it is.
        for place, change in enumerate(changes):
            seen = ownership.visible(change.mask, task.owner, task.since)
            before = change.kernel.value
            values[place] = np.where(seen, values[place], before)
    return Fit(values, [pair for norm in norms for pair in norm.values])
