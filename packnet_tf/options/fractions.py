"""Computes pruning fractions: parsing, equal shares, schedules, forecasts.

Fractions are numbers between 0 and 1, both excluded. There is one for all
tasks, a list with one for each, or a plan of equal shares.
"""

import numbers
from collections.abc import Sequence
from typing import Any

from packnet_tf.errors import CapacityError, FlagError, PackNetError

EQUAL_SHARE = "equal_share"
# The fraction is found when the task is pruned.
AUTO = "auto"


def validate_fraction(fraction: float, name: str = "fraction") -> float:
    """Checks a fraction and returns it as a float.

    Args:
        fraction: Fraction of weights, between 0 and 1, both excluded.
        name: Its name in the error.

    Raises:
        PackNetError: If it is not such a number.
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

    With `left` tasks after this one, it is `left / (left + 1)`, as in
    Continual World's PackNet.

    Args:
        planned_tasks: How many tasks will share the free weights.
        nth: Number of this task among them, from 1.

    Returns:
        The fraction to free; 0.0 for the last task, which is not pruned.

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
            "so no weights are left; plan for more tasks from the start, or "
            "give a number as the fraction."
        )
    return left / (left + 1)


def parse_fraction(
    value: str | float | Sequence[Any],
    nth: int,
    planned_tasks: int | None = None,
) -> float:
    """Returns one task's fraction from a setting.

    Args:
        value: A number or its text; a list or comma-separated text with one
            number for each task; or `"equal_share"`.
        nth: Number of this added task, from 1.
        planned_tasks: For `equal_share`: how many tasks will be added.

    Returns:
        A number between 0 and 1, both excluded; with `equal_share` also 0.0,
        for the last task, which is not pruned.

    Raises:
        FlagError: If the value is invalid or has no number for this task.
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
                    "tasks will be added in all."
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

    They are `final * (1 - (1 - t / steps) ** 3)` for t = 1 to `steps`, which
    prunes most at first (Zhu and Gupta, 2017, "To prune, or not to prune").

    Args:
        final: The exact fraction after the last step.
        steps: Number of steps, 1 or more.

    Example:
        >>> gradual_fractions(0.8, 2)
        [0.7, 0.8]
    """
    final = validate_fraction(final)
    if steps < 1:
        raise PackNetError(
            f"Gradual pruning needs 1 step or more; received {steps}."
        )
    rising = [final * (1 - (1 - t / steps) ** 3) for t in range(1, steps)]
    return [*rising, final]


def room(free: float, fraction: float) -> list[float]:
    """Returns what further tasks will keep, each 0.1% of the weights or more.

    Args:
        free: Share of the weights that is free now.
        fraction: Share of those that each task will free again.

    Returns:
        Shares of all weights, for 200 tasks at most.

    Example:
        >>> room(0.01, 0.5)
        [0.005, 0.0025, 0.00125]
    """
    kept: list[float] = []
    while free * (1 - fraction) >= 0.001 and len(kept) < 200:
        kept.append(free * (1 - fraction))
        free *= fraction
    return kept


def forecast(free: float, fraction: float, granularity: str = "weight") -> str:
    """Returns a line on the capacity that a new task will use and leave.

    Args:
        free: Share of the weights that is free now.
        fraction: Share of those that the task will free again.
        granularity: `"weight"`, or `"filter"` if the fraction counts output
            channels, so that the shares of weights are estimates.
    """
    left = free * fraction
    more = len(room(left, fraction))
    about, whole = "", ""
    if granularity == "filter":
        about, whole = "about ", " in whole output channels"
    return (
        f"Capacity: {free:.1%} of the weights are free; this task keeps "
        f"{about}{free * (1 - fraction):.1%}{whole} and leaves {about}"
        f"{left:.1%}: room for {more} more task(s) that each keep 0.1% or "
        "more at this fraction."
    )


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
            f"prune_fraction={whole}: {one!r} is not a number between 0 and 1, "
            "both excluded, such as 0.75."
        )
    return number
