"""Mean, deviation, and the interval of a paired difference."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

# Of the two-sided interval.
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean difference and what it may be.

    Attributes:
        mean: The mean of the differences.
        low: The lower end of the interval, or None with a single pair.
        high: Its upper end.
    """

    mean: float
    low: float | None
    high: float | None


def deviation(values: Sequence[float]) -> float | None:
    """Returns the standard deviation of a sample, or None of one value.

    Example:
        >>> deviation([0.5, 1.5])
        0.7071067811865476
    """
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def paired(first: Sequence[float], second: Sequence[float]) -> Interval | None:
    """Returns the mean of `first - second`, with its 95 % t interval.

    Args:
        first: Values of one method, by seed.
        second: Values of another, for the same seeds.

    Returns:
        The interval (Student 1908), or None without values.

    Example:
        >>> paired([0.5, 0.75], [0.25, 0.25]).mean
        0.375
    """
    if not first:
        return None
    differences = np.subtract(first, second)
    mean, spread = float(np.mean(differences)), deviation(differences.tolist())
    if spread is None:
        return Interval(mean, None, None)
    count = len(differences)
    half = t_quantile(count - 1) * spread / math.sqrt(count)
    return Interval(mean, mean - half, mean + half)


def t_quantile(freedom: int) -> float:
    """Returns how wide the 95 % interval is, in standard errors.

    Args:
        freedom: Degrees of freedom, 1 or more.

    Example:
        >>> round(t_quantile(2), 3)
        4.303
    """
    low, high = 0.0, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        if _within(middle, freedom) < CONFIDENCE:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    """Returns the probability of -t to t (Abramowitz and Stegun 26.7.3-4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for k in range(2 + odd, freedom + 1, 2):
        total += term
        term *= cosine**2 * (k - 1) / k
    if not odd:
        return sine * total
    return 2 / math.pi * (angle + (sine * total if freedom > 1 else 0.0))
