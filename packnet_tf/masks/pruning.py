"""Prunes a fraction of a task's weights or channels, the smallest first.

Counts are exact, ties are broken by position, and at least one weight or
channel of every kernel stays.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from packnet_tf.errors import PackNetError
from packnet_tf.masks import filters, ownership
from packnet_tf.masks.magnitude import (
    DTYPES,
    Ranked,
    compared_as,
    free_smallest,
)
from packnet_tf.options.fractions import validate_fraction
from packnet_tf.options.task import GRANULARITIES, SCOPES


def prune_count(owned: int, fraction: float) -> int:
    """Returns how many of `owned` weights or channels to prune.

    That is `round(fraction * owned)` as in the authors' code (halves are
    rounded to even), but at least one stays.

    Args:
        owned: Number of weights or channels, 0 or more.
        fraction: Share to prune, between 0 and 1.

    Example:
        >>> prune_count(10, 0.75), prune_count(1, 0.75)
        (8, 0)
    """
    return max(0, min(round(fraction * owned), owned - 1))


def prune_masks(
    kernels: Sequence[Any],
    masks: Sequence[Any],
    owner: int,
    fraction: float,
    *,
    scope: str = "layer",
    granularity: str = "weight",
    of_claimed: bool = False,
    channel_axes: Sequence[Sequence[int]] | None = None,
    names: Sequence[str] | None = None,
) -> list[np.ndarray]:
    """Frees the smallest weights or channels of the task in training.

    Args:
        kernels: The weights of all tasks: arrays or variables, read one at a
            time.
        masks: Their masks, uint8.
        owner: The task's number. Weights of others are ignored.
        fraction: Fraction of the task's weights (or channels) to free,
            between 0 and 1.
        scope: `"layer"` frees that fraction of every kernel (the paper,
            section 3); `"global"` frees it of all kernels together, but keeps
            the largest weight or channel of each.
        granularity: `"weight"` ranks single weights by magnitude; `"filter"`
            ranks and counts output channels with weights of the task, by
            their mean magnitude (the paper's pruning of filters).
        of_claimed: Whether the fraction refers to all weights that the task
            claimed, including those that it freed since, so that a rising
            fraction prunes gradually. A falling one does not restore any.
        channel_axes: For `"filter"`: the axes of each kernel's output
            channels; by default its last axis.
        names: The kernels' names in errors.

    Returns:
        New masks, 0 where a weight was freed. `"layer"` frees exactly
        `prune_count` of each kernel's weights or channels; `"global"` frees
        `round(fraction * all)`, unless less than one of a kernel would stay.

    Raises:
        PackNetError: If an argument is invalid, or a weight of the task is
            NaN.

    Example:
        >>> kernel = np.array([1.0, -4.0, 3.0, -2.0])
        >>> mask = np.array([2, 1, 2, 2], np.uint8)
        >>> prune_masks([kernel], [mask], owner=2, fraction=0.4)
        [array([0, 1, 2, 2], dtype=uint8)]
    """
    validate_fraction(fraction)
    _check_choice("scope", scope, SCOPES)
    _check_choice("granularity", granularity, GRANULARITIES)
    if names is None:
        names = [f"Kernel {number}" for number in range(len(kernels))]
    _check_arrays(kernels, masks, names)
    if granularity == "weight":
        ranked = [
            Ranked(kernel, mask, owner, name)
            for kernel, mask, name in zip(kernels, masks, names, strict=True)
        ]
        return _prune(ranked, compared_as(kernels), fraction, scope, of_claimed)
    if channel_axes is None:
        channel_axes = [(-1,)] * len(kernels)
    channels = [
        filters.channels_of(kernel, mask, owner, axes, name)
        for kernel, mask, axes, name in zip(
            kernels, masks, channel_axes, names, strict=True
        )
    ]
    # Ranking treats each channel as one weight.
    ranked = [
        Ranked(one.means, one.mask, filters.OWNED, name)
        for one, name in zip(channels, names, strict=True)
    ]
    kind = np.dtype(np.float64)
    left = _prune(ranked, kind, fraction, scope, of_claimed)
    return [
        filters.free_channels(mask, owner, axes, now != filters.OWNED, name)
        for mask, axes, now, name in zip(
            masks, channel_axes, left, names, strict=True
        )
    ]


def _prune(
    ranked: Sequence[Ranked],
    kind: np.dtype,
    fraction: float,
    scope: str,
    of_claimed: bool,
) -> list[np.ndarray]:
    """Returns masks with the right number of the smallest freed."""
    owned, freed = [], []
    for one in ranked:
        counts = ownership.count(np.asarray(one.mask))
        owned.append(counts.get(one.owner, 0))
        # A task claims all free weights, so it freed those that are free now.
        freed.append(counts[ownership.FREE] if of_claimed else 0)
    if scope == "layer":
        masks: list[np.ndarray] = []
        for one, own, gone in zip(ranked, owned, freed, strict=True):
            number = prune_count(own + gone, fraction) - gone
            masks += free_smallest([one], max(0, number), kind)
        return masks
    number = prune_count(sum(owned) + sum(freed), fraction) - sum(freed)
    most = sum(own - 1 for own in owned if own)
    ranked = [one.without_last(kind) for one in ranked]
    return free_smallest(ranked, max(0, min(number, most)), kind)


def _check_choice(name: str, value: str, legal: tuple[str, ...]) -> None:
    if value not in legal:
        raise PackNetError(
            f"{name}={value!r}: expected one of {', '.join(legal)}."
        )


def _check_arrays(
    kernels: Sequence[Any], masks: Sequence[Any], names: Sequence[str]
) -> None:
    if not len(kernels) == len(masks) == len(names):
        raise PackNetError(
            f"Expected a mask and a name for each of {len(kernels)} kernels; "
            f"received {len(masks)} masks and {len(names)} names."
        )
    for kernel, mask, name in zip(kernels, masks, names, strict=True):
        shape = tuple(kernel.shape)
        if str(mask.dtype) != "uint8" or tuple(mask.shape) != shape:
            raise PackNetError(
                f"{name}: its mask is uint8 of its shape {shape}; received "
                f"{mask.dtype} of shape {tuple(mask.shape)}."
            )
        if str(kernel.dtype) not in DTYPES:
            raise PackNetError(
                f"{name} holds {kernel.dtype}, which cannot be ranked; "
                f"expected one of {', '.join(DTYPES)}."
            )
