"""Times programs in turn, in one process: what a ratio is made of."""

import time
from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

# Runs so many times; returns the seconds of one.
Run = Callable[[int], float]


def stepper(model: keras.Model, x: tf.Tensor, y: tf.Tensor) -> Run:
    """Returns a run of training steps, without Keras's epoch loop.

    Args:
        model: A compiled model.
        x: The batch's images.
        y: Their labels.
    """
    dataset = tf.data.Dataset.from_tensors((x, y)).repeat()
    model.fit(dataset, steps_per_epoch=2, epochs=1, verbose=0)
    step = model.make_train_function() or model.train_function
    iterator = iter(dataset)

    def run(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            logs = step(iterator)
        float(logs["loss"])
        return (time.perf_counter() - start) / count

    return run


def caller(signature: Callable, images: tf.Tensor) -> Run:
    """Returns a run of a SavedModel's signature on a batch."""

    def run(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            found = signature(images=images)["scores"]
        found.numpy()
        return (time.perf_counter() - start) / count

    return run


def in_turn(
    runs: Mapping[str, Run], calls: int, pairs: int
) -> dict[str, np.ndarray]:
    """Returns seconds of each run by name, one figure for each round.

    Args:
        runs: The runs; they have warmed up.
        calls: How often each runs at a time.
        pairs: Rounds of all of them.
    """
    names = [*runs]
    taken: dict[str, list[float]] = {name: [] for name in names}
    for pair in range(pairs):
        # The order changes, so that a drift of the machine cancels out.
        turn = pair % len(names)
        for name in names[turn:] + names[:turn]:
            taken[name].append(runs[name](calls))
    return {name: np.array(seconds) for name, seconds in taken.items()}
