"""How a task was trained: its epochs as arrays, from a manifest's facts."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from packnet_tf.errors import PackNetError
from packnet_tf.options.fractions import gradual_fractions, validate_fraction

# What epochs are measured by, in the order in which it is shown.
LOSS = "loss"
ACCURACIES = ("accuracy", "val_accuracy")


@dataclasses.dataclass(frozen=True)
class Span:
    """The epochs of one phase, counted through all phases of a task.

    Attributes:
        phase: `"recovery"`, `"train"` or `"retrain"`.
        start: The epochs before it.
        stop: The epochs up to its end.
    """

    phase: str
    start: int
    stop: int


@dataclasses.dataclass(frozen=True)
class Curve:
    """The training of one task, epoch by epoch.

    Attributes:
        task: Its name.
        spans: Its phases, in order.
        series: Arrays of shape [epochs], by name: the loss, and those of
            `ACCURACIES` that were measured; NaN where one was not.
        pruned: The share of the task's weights (of its output channels, where
            filters were pruned) that was pruned in each epoch, from 0 to 1.
        after_pruning: Validation accuracy between pruning and retraining, or
            None.
    """

    task: str
    spans: tuple[Span, ...]
    series: dict[str, np.ndarray]
    pruned: np.ndarray
    after_pruning: float | None = None

    @property
    def epochs(self) -> int:
        """All epochs of all phases."""
        return len(self.pruned)


def curve_of(
    task: str, metrics: Mapping[str, Any], facts: Mapping[str, Any]
) -> Curve | None:
    """Returns the training of a task, or None if there is no record of it.

    Args:
        task: Its name.
        metrics: Its figures in a manifest. Another program may have written
            them, so nothing in them is relied on.
        facts: How it was made; the same.

    Example:
        >>> history = [
        ...     {"phase": "train", "epoch": 1, "loss": 0.5},
        ...     {"phase": "retrain", "epoch": 1, "loss": 0.25},
        ... ]
        >>> pruning = [{"fraction": 0.75, "gradual_epochs": 0}]
        >>> curve = curve_of(
        ...     "birds", {}, {"history": history, "pruning": pruning}
        ... )
        >>> curve.series["loss"], curve.pruned
        (array([0.5 , 0.25]), array([0.  , 0.75]))
    """
    history = facts.get("history")
    epochs = [
        epoch
        for epoch in (history if isinstance(history, list) else [])
        if isinstance(epoch, dict) and isinstance(epoch.get("phase"), str)
    ]
    if not epochs:
        return None
    spans = _spans(epochs)
    series = {
        name: np.array([number(epoch.get(name)) for epoch in epochs])
        for name in (LOSS, *ACCURACIES)
    }
    after = number(metrics.get("accuracy_pruned"))
    return Curve(
        task,
        spans,
        {k: v for k, v in series.items() if not np.all(np.isnan(v))},
        _pruned(spans, facts),
        None if np.isnan(after) else after,
    )


def number(value: Any) -> float:
    """Returns a number of a manifest, or NaN for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return float("nan")


def _spans(epochs: Sequence[Mapping[str, Any]]) -> tuple[Span, ...]:
    """Returns the phases; one that is repeated counts from 1 again."""
    starts = [0]
    for place in range(1, len(epochs)):
        one, other = epochs[place - 1], epochs[place]
        if one["phase"] != other["phase"] or not (
            number(other.get("epoch")) > number(one.get("epoch"))
        ):
            starts.append(place)
    stops = [*starts[1:], len(epochs)]
    return tuple(
        Span(epochs[start]["phase"], start, stop)
        for start, stop in zip(starts, stops, strict=True)
    )


def _pruned(spans: Sequence[Span], facts: Mapping[str, Any]) -> np.ndarray:
    """Returns the share that was pruned, for each epoch."""
    shares = np.zeros(spans[-1].stop)
    prunings = facts.get("pruning")
    left = iter(prunings if isinstance(prunings, list) else [])
    before = 0.0
    for span in spans:
        if span.phase == "recovery":
            network = facts.get("network")
            if isinstance(network, dict):
                share = number(network.get("base_prune_fraction"))
                before = 0.0 if np.isnan(share) else share
        elif span.phase == "retrain":
            steps = _steps(next(left, None), before)
            rising = steps[: span.stop - span.start]
            shares[span.start : span.start + len(rising)] = rising
            before = steps[-1]
            shares[span.start + len(rising) : span.stop] = before
            continue
        shares[span.start : span.stop] = before
    return shares


def _steps(pruning: Any, before: float) -> list[float]:
    """Returns the shares that one pruning comes to, step by step."""
    found = pruning if isinstance(pruning, dict) else {}
    try:
        fraction = validate_fraction(found.get("fraction", 0.0))
    except PackNetError:
        return [before]
    epochs = found.get("gradual_epochs")
    if isinstance(epochs, int) and epochs > 0:
        # These are shares of what the task claimed, not of what it has left.
        steps = gradual_fractions(fraction, epochs)
        return [max(before, step) for step in steps]
    return [1 - (1 - before) * (1 - fraction)]
