"""The gradients that TensorFlow registers, and keeps for ever."""

import contextlib
from collections.abc import Iterator

from tensorflow.python.framework import ops


@contextlib.contextmanager
def new_gradients_forgotten() -> Iterator[None]:
    """Forgets, in the end, the gradients that were registered in the block.

    Each trace of a Keras training step registers two (TensorFlow 2.21: the
    optimizer's `all_reduce`), which hold the step's whole graph: with
    MobileNet 120 MB that outlive the model.

    For a block all of whose models are gone when it ends. A gradient that is
    taken through one of their programs later would not be found.
    """
    registry = ops.gradient_registry._registry
    before = set(registry)
    try:
        yield
    finally:
        for name in set(registry) - before:
            registry.pop(name, None)
