"""Which weights go: exact ranks by magnitude, scopes, fractions, schedules.

Everything here is a function of arrays. The authors' code cuts at the
magnitude of a rank, so that ties prune too much and rank 0 fails; here the
counts are exact, ties go by position, and at least one weight of every kernel
stays.
"""

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from packnet_tf.errors import CapacityError, FlagError, PackNetError

SCOPES = ("layer", "global")
EQUAL_SHARE = "equal_share"


def smallest(values: np.ndarray, count: int) -> np.ndarray:
    """Returns which values are the smallest by magnitude.

    Args:
        values: Array of rank 1.
        count: How many to take.

    Returns:
        Boolean array with exactly `count` entries set. Of equal magnitudes
        the first positions go first.

    Raises:
        PackNetError: If a value is NaN.
    """
    sizes = _magnitudes(values)
    chosen = np.zeros(values.size, bool)
    if count <= 0:
        return chosen
    if count >= values.size:
        return ~chosen
    cut = np.partition(sizes, count - 1)[count - 1]
    chosen = sizes < cut
    ties = np.flatnonzero(sizes == cut)[: count - int(chosen.sum())]
    chosen[ties] = True
    return chosen


def _magnitudes(values: np.ndarray) -> np.ndarray:
    """Returns |values|, having refused NaN, which has no rank."""
    sizes = np.abs(values)
    if np.isnan(sizes.max(initial=0)):
        raise PackNetError(
            "A kernel holds NaN and cannot be ranked; the training has "
            "diverged. Train again with a lower learning rate."
        )
    return sizes


def prune_count(owned: int, fraction: float) -> int:
    """Returns how many of `owned` weights a fraction takes: at most all but 1.

    Args:
        owned: Number of weights.
        fraction: Share to take; rounded as in the paper's code.
    """
    return max(min(round(fraction * owned), owned - 1), 0)


def prune_masks(
    kernels: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    owner: int,
    fraction: float,
    scope: str = "layer",
    claimed: Sequence[int] | None = None,
) -> list[np.ndarray]:
    """Returns the masks with a task's smallest weights freed.

    Args:
        kernels: The kernels.
        masks: Their masks.
        owner: Number of the task; others' weights are not looked at.
        fraction: Share of the task's weights to free.
        scope: `"layer"` takes that share of every kernel (the paper, section
            3); `"global"` of all kernels together, where the largest weight
            of each stays.
        claimed: For gradual pruning: how many weights of each kernel the
            task had at first. The fraction is then of these, and what has
            been freed since counts.

    Returns:
        New masks, in order.

    Raises:
        PackNetError: If the scope is unknown or a kernel holds NaN.
    """
    if scope not in SCOPES:
        raise PackNetError(
            f"scope={scope!r}: expected one of {', '.join(SCOPES)}."
        )
    places = [np.flatnonzero(mask == owner) for mask in masks]
    values = [
        kernel.reshape(-1)[place]
        for kernel, place in zip(kernels, places, strict=True)
    ]
    owned = [place.size for place in places]
    at_first = owned if claimed is None else list(claimed)
    if scope == "layer":
        chosen = [
            smallest(value, prune_count(first, fraction) - first + value.size)
            for value, first in zip(values, at_first, strict=True)
        ]
    else:
        number = prune_count(sum(at_first), fraction)
        chosen = _smallest_of_all(values, number - sum(at_first) + sum(owned))
    pruned = []
    for mask, place, gone in zip(masks, places, chosen, strict=True):
        new = mask.copy()
        new.reshape(-1)[place[gone]] = 0
        pruned.append(new)
    return pruned


def _smallest_of_all(
    values: Sequence[np.ndarray], number: int
) -> list[np.ndarray]:
    """Ranks all kernels together; the largest weight of each stays."""
    # Of equal ones the last stays, as ties go by position.
    stay = [
        v.size - 1 - int(np.argmax(_magnitudes(v)[::-1])) if v.size else 0
        for v in values
    ]
    rest = [
        np.delete(value, place) if value.size else value
        for value, place in zip(values, stay, strict=True)
    ]
    chosen = smallest(np.concatenate(rest), number)
    parts = np.split(chosen, np.cumsum([part.size for part in rest])[:-1])
    return [
        np.insert(part, place, False) if value.size else part
        for part, place, value in zip(parts, stay, values, strict=True)
    ]


def validate_fraction(fraction: float, name: str = "fraction") -> float:
    """Returns the fraction as a float, having checked it.

    Args:
        fraction: Share of weights, between 0 and 1, both excluded.
        name: What the error calls it.

    Raises:
        PackNetError: If it is none.
    """
    if (
        not isinstance(fraction, numbers.Real)
        or isinstance(fraction, bool)
        or not 0.0 < fraction < 1.0
    ):
        raise PackNetError(
            f"The {name} is {fraction!r}; expected a number between 0 and 1, "
            "both excluded, such as 0.75. To prune nothing, pack right after "
            "the train phase."
        )
    return float(fraction)


def equal_share(planned_tasks: int, nth: int) -> float:
    """Returns the fraction to prune so that planned tasks share equally.

    With `left` tasks still to come after this one that is
    `left / (left + 1)`, as in Continual World's PackNet.

    Args:
        planned_tasks: How many tasks shall share the free weights.
        nth: Which of them this is, from 1.

    Returns:
        The share to free. 0.0 for the last one: it is not pruned.

    Raises:
        CapacityError: If all planned tasks have been added already.

    Example:
        >>> [round(equal_share(3, nth), 3) for nth in (1, 2, 3)]
        [0.667, 0.5, 0.0]
    """
    if planned_tasks < 1 or nth < 1:
        raise PackNetError(
            f"Expected planned_tasks and nth of 1 or more; received "
            f"{planned_tasks} and {nth}."
        )
    left = planned_tasks - nth
    if left < 0:
        raise CapacityError(
            f"This is task {nth} of {planned_tasks} planned for equal_share, "
            "which left no weights; plan for more tasks from the first on, or "
            "give a fraction as a number."
        )
    return left / (left + 1)


def parse_fraction(
    value: str | float | Sequence[Any],
    nth: int,
    planned_tasks: int | None = None,
) -> float:
    """Returns the fraction that a setting gives for one task.

    Args:
        value: A number, or text of one; a list, or text separated by commas,
            of which the n-th task takes the n-th; or `"equal_share"`.
        nth: Which of the added tasks this is, from 1.
        planned_tasks: For `equal_share`: tasks to be added in all.

    Returns:
        A number between 0 and 1, both excluded; from `equal_share` also 0.0,
        for the last task, which is not pruned.

    Raises:
        FlagError: If the value says none for this task.
        CapacityError: As `equal_share`.

    Example:
        >>> parse_fraction("0.5, 0.75", nth=2)
        0.75
    """
    if isinstance(value, str):
        text = value.strip()
        if text == EQUAL_SHARE:
            if planned_tasks is None:
                raise FlagError(
                    "prune_fraction=equal_share needs planned_tasks: how many "
                    "tasks shall be added in all."
                )
            return equal_share(planned_tasks, nth)
        values: Sequence[Any] = [part.strip() for part in text.split(",")]
    elif isinstance(value, Sequence):
        values = list(value)
    else:
        values = [value]
    fractions = [_parse_one(one, value) for one in values]
    if len(fractions) == 1 and not _is_list(value):
        return fractions[0]
    if not 1 <= nth <= len(fractions):
        raise FlagError(
            f"prune_fraction={value} gives {len(fractions)} fractions, but "
            f"this is added task {nth}; append its fraction, or give a single "
            "one for all tasks."
        )
    return fractions[nth - 1]


def gradual_fractions(final: float, steps: int) -> list[float]:
    """Returns the fractions of gradual pruning, one for each step.

    `final * (1 - (1 - t / steps) ** 3)` for t = 1 to `steps`: much at first,
    little at last (Zhu and Gupta, 2017, "To prune, or not to prune").

    Args:
        final: The fraction after the last step, exactly.
        steps: How many, 1 or more.

    Example:
        >>> gradual_fractions(0.8, 2)
        [0.7, 0.8]
    """
    final = validate_fraction(final)
    if steps < 1:
        raise PackNetError(
            f"Gradual pruning takes 1 step or more; received {steps}."
        )
    rising = [final * (1 - (1 - t / steps) ** 3) for t in range(1, steps)]
    return [*rising, final]


def _is_list(value: Any) -> bool:
    if isinstance(value, str):
        return "," in value
    return not isinstance(value, numbers.Real)


def _parse_one(one: Any, whole: Any) -> float:
    try:
        number = float(one)
    except (TypeError, ValueError):
        number = float("nan")
    if not 0.0 < number < 1.0:
        raise FlagError(
            f"prune_fraction={whole}: {one!r} is no number between 0 and 1, "
            "both excluded, such as 0.75."
        )
    return number
