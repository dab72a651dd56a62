"""Private names of Keras's optimizers, and of how they update variables."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

# Keras's optimizers update through it, and so must what goes with them.
merge_call = tf.__internal__.distribute.interim.maybe_merge_call


def is_mapped_by_function(optimizer: keras.Optimizer) -> bool:
    """Whether it is a `MultiOptimizer` (Keras 3.15) that a function maps."""
    several = getattr(keras.optimizers, "MultiOptimizer", ())
    return isinstance(optimizer, several) and not isinstance(
        optimizer._optimizer_map, keras.optimizers.OptimizerMap
    )


def changing_rate(optimizer: keras.Optimizer) -> Any:
    """Returns its schedule, or the callable that gives its learning rate.

    None if the rate is a number.
    """
    rate = optimizer._learning_rate
    return rate if callable(rate) else None


def decay_exclusions(optimizer: keras.Optimizer) -> tuple[set[Any], Any]:
    """Returns what weight decay passes by: ids, and a pattern of names."""
    return (
        set(getattr(optimizer, "_exclude_from_weight_decay", ())),
        getattr(optimizer, "_exclude_from_weight_decay_pattern", None),
    )


def exclude_from_decay(
    optimizer: keras.Optimizer, exclusions: tuple[set[Any], Any]
) -> None:
    """Gives an optimizer the `decay_exclusions` of another one."""
    if any(exclusions):
        optimizer.exclude_from_weight_decay()
        variables, pattern = exclusions
        optimizer._exclude_from_weight_decay = set(variables)
        optimizer._exclude_from_weight_decay_pattern = pattern


def decays_in_stock_way(optimizer: keras.Optimizer) -> bool:
    """Whether it has weight decay, and the decay of the base class."""
    stock = keras.optimizers.Optimizer._apply_weight_decay
    return (
        getattr(optimizer, "weight_decay", None) is not None
        and type(optimizer)._apply_weight_decay is stock
    )


def exchange_decay(
    optimizer: keras.Optimizer,
    is_ours: Callable[[keras.Variable], bool],
    decay: Callable[[list[keras.Variable]], None],
) -> None:
    """Makes an optimizer leave the decay of some variables to a function.

    Args:
        optimizer: One that decays in the stock way.
        is_ours: Which variables.
        decay: Called in each step with those of them that are decayed.
    """
    stock = type(optimizer)._apply_weight_decay

    def apply_weight_decay(variables):
        stock(optimizer, [v for v in variables if not is_ours(v)])
        ours = [v for v in variables if is_ours(v)]
        ours = [v for v in ours if optimizer._use_weight_decay(v)]
        if ours:
            decay(ours)

    optimizer._apply_weight_decay = apply_weight_decay
