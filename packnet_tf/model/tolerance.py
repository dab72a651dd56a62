"""Prunes as far as a measure of the network allows."""

import math
import numbers
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from packnet_tf.errors import PackNetError
from packnet_tf.layers.memory import array_of
from packnet_tf.model.tasks import TaskBook
from packnet_tf.task import Task

# The fractions that are tried, 0.05 to 0.95.
FRACTIONS = tuple(twentieth / 20 for twentieth in range(1, 20))


def prune_within(
    net: Any,
    tolerance: float,
    measure: Callable[[], float],
    *,
    images: Any,
    scope: str = "layer",
    granularity: str = "weight",
    fractions: Sequence[float] = FRACTIONS,
    report: Callable[[float, float], None] = lambda fraction, value: None,
) -> float:
    """Prunes by the largest fraction that costs no more than a tolerance.

    It bisects the fractions. Each is tried by `prune` with images, from the
    same unpruned network: all values and masks are put back in between. A
    fraction is chosen only if it was measured to be within the tolerance; if
    not even the smallest is, the task is pruned by that, with a warning.

    Args:
        tolerance: How much lower than before the measure may be, in its own
            units, 0 or more.
        measure: Returns a number for the network as it is, higher is better;
            it must not change the network. Use validation data: what was
            chosen on it, test data judges.
        images: As for `prune`.
        scope: As for `prune`.
        granularity: As for `prune`.
        fractions: What to try, rising, as for `prune`.
        report: Called with each fraction tried, and the measure after it.

    Returns:
        The fraction that the task was pruned by.

    Raises:
        PhaseError: As `prune`.
        PackNetError: As `prune`; if no fractions are given, or the tolerance
            or the measure is not a number. The network is then what it was,
            except that its optimizer starts afresh.

    Example:

    >>> def accuracy():
    ...     return net.evaluate(validation, return_dict=True)["accuracy"]
    >>> net.prune_within(0.005, accuracy, images=train)
    0.85
    """
    task = net.book.in_training("prune_within")
    fractions = tuple(fractions)
    if not fractions or not (
        isinstance(tolerance, numbers.Real) and 0 <= tolerance < math.inf
    ):
        raise PackNetError(
            f"prune_within(): expected a tolerance of 0 or more, such as "
            f"0.005, and some fractions; received {tolerance!r} and "
            f"{fractions!r}."
        )
    net.equalize_replicas()
    before = _Before(net, task)
    try:
        unpruned = _number(measure())
        # Those up to `within` are known to be, those from `beyond` on not.
        within, beyond, pruned = -1, len(fractions), -1
        while beyond - within > 1:
            if pruned >= 0:
                before.restore()
            pruned = (within + beyond) // 2
            net.prune(fractions[pruned], scope, granularity, images=images)
            value = _number(measure())
            report(fractions[pruned], value)
            if unpruned - value <= tolerance:
                within = pruned
            else:
                beyond = pruned
        chosen = max(within, 0)
        if pruned != chosen:
            before.restore()
            net.prune(fractions[chosen], scope, granularity, images=images)
    except BaseException:
        before.restore()
        raise
    if within < 0:
        warnings.warn(
            f"Not even a fraction of {fractions[0]:g} stays within the "
            f"tolerance of {tolerance:g}: the measure falls from "
            f"{unpruned:.4f} to {value:.4f}. Task {task.name!r} is pruned by "
            "that; retrain it, or allow more.",
            stacklevel=2,
        )
    return fractions[chosen]


class _Before:
    """A task in training before it is pruned."""

    def __init__(self, net: Any, task: Task):
        book: TaskBook = net.book
        variables = [k.variable for k in book.kernels]
        variables += [k.mask for k in book.kernels]
        variables += book.bank.variables
        self._net, self._task, self._phase = net, task, task.phase
        self._values = [(v, array_of(v)) for v in variables]
        self._pretrained = book.bank.pretrained, book.bank.pretrained_private

    def restore(self) -> None:
        """Puts everything back that pruning has changed."""
        net, bank = self._net, self._net.book.bank
        for variable, value in self._values:
            variable.assign(value)
        bank.pretrained, bank.pretrained_private = self._pretrained
        net.book.note_masks()
        self._task.phase = self._phase
        net.enter(self._task, new_phase=True)


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise PackNetError(
            f"prune_within(): measure() gave {value!r}; expected a number, "
            "higher where the network is better."
        )
    return number
