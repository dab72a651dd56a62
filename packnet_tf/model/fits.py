"""Fits a task's weights so that its network answers as another one did."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from packnet_tf import console
from packnet_tf.layers import MaskedKernel
from packnet_tf.reconstruct import Change, reconstruct
from packnet_tf.task import Task


def after_pruning(
    net: Any,
    task: Task,
    kernels: Sequence[MaskedKernel],
    masks: Sequence[np.ndarray],
    images: Any,
) -> list[np.ndarray]:
    """Returns kernels pruned to new masks, and fitted to what they were.

    Args:
        net: The network, which is only read.
        task: The task in training, which is active.
        kernels: The kernels that lose weights.
        masks: Their masks after pruning.
        images: As for `PackNet.prune`.
    """
    return _fitted(
        net,
        [
            Change(kernel, np.asarray(kernel.variable), mask, task.owner)
            for kernel, mask in zip(kernels, masks, strict=True)
        ],
        images,
    )


def to_pretrained(
    net: Any,
    task: Task,
    pretrained: Sequence[np.ndarray],
    images: Any,
) -> list[np.ndarray]:
    """Returns a new task's kernels, fitted to those of the unpruned network.

    Args:
        net: The network, which is only read.
        task: The new task, which is active.
        pretrained: The kernels before the base task was pruned.
        images: As for `PackNet.add_task`.
    """
    changes = []
    for kernel, before in zip(net.masked_kernels(), pretrained, strict=True):
        now = np.asarray(kernel.variable)
        mask = np.asarray(kernel.mask)
        changes.append(Change(kernel, before, mask, task.owner, now))
    return _fitted(net, changes, images)


def _fitted(net: Any, changes: list[Change], images: Any) -> list[np.ndarray]:
    net.equalize_replicas()
    with console.bar("fitting kernels") as report:
        kept = reconstruct(net.backbone, changes, images, report=report)
    if kept:
        warnings.warn(
            f"{', '.join(kept)}: the weights that stay keep their values; "
            "those of recurrent cells, and of layers with a call() of their "
            "own, are not fitted.",
            stacklevel=4,
        )
    return [c.start if c.fitted is None else c.fitted for c in changes]
