"""Losses and metrics made afresh for each task, as optimizers are.

A metric has the shape of the outputs that it first saw, "accuracy" becomes
the accuracy that suits them, and state of one task is nothing to another.
"""

import inspect
from typing import Any

import keras

from packnet_tf.errors import TaskError, first_line
from packnet_tf.tf_internals.training import fresh_wrapper, holds_state


def fresh(given: Any) -> Any:
    """Returns losses or metrics as `compile` takes them, without any state.

    Args:
        given: Names, functions and objects, in any structure.

    Raises:
        TaskError: Naming the one that cannot be made again.
    """
    if isinstance(given, dict):
        return {key: fresh(part) for key, part in given.items()}
    if isinstance(given, (list, tuple)):
        return [fresh(part) for part in given]
    if isinstance(given, keras.metrics.Metric):
        return fresh_wrapper(given) or _again(given, "metric")
    if isinstance(given, keras.losses.Loss) and holds_state(given):
        return _again(given, "loss")
    return given


def _again(given: Any, what: str) -> Any:
    cls = type(given)
    try:
        config = given.get_config()
        unknown = [name for name in _arguments(cls) if name not in config]
        if not unknown:
            return cls.from_config(config)
        why = f"its get_config() lacks {', '.join(unknown)}"
    except Exception as error:
        why = f"from_config() failed: {first_line(error)}"
    raise TaskError(
        f"The {what} {given.name!r} ({cls.__name__}) has state, and cannot be "
        f"made again for another task: {why}. Complete its get_config(), or "
        "call compile() with a new one after activate()."
    )


def _arguments(cls: type) -> list[str]:
    """Returns the arguments of a class of the user's own."""
    made: Any = cls
    if made.__init__.__module__.startswith("keras."):
        return []
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    taken = inspect.signature(cls).parameters.values()
    return [p.name for p in taken if p.kind not in kinds]
