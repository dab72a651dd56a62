"""The gradients that TensorFlow registers, and keeps for ever."""

import contextlib
from collections.abc import Iterator

from tensorflow.python.framework import ops

# Of the names that TensorFlow makes for what it traces.
_OF_TRACES = ("CustomGradient-", "PartitionedCall-")


@contextlib.contextmanager
def new_gradients_forgotten() -> Iterator[None]:
    """Forgets, in the end, the gradients of what was traced in the block.

    Each trace of a Keras training step registers two (TensorFlow 2.21: the
    optimizer's `all_reduce`), which hold the step's whole graph: with
    MobileNet 120 MB that outlive the model.

    For a block all of whose models are gone when it ends, while no other
    thread traces anything. A gradient that is taken later through a program
    of the block would not be found.
    """
    registry = ops.gradient_registry._registry
    before = set(registry)
    try:
        yield
    finally:
        for name in set(registry) - before:
            if name.startswith(_OF_TRACES):
                registry.pop(name, None)
