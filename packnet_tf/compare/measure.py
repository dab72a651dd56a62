"""Runs one cell: learns the tasks in order and measures after each."""

import dataclasses
import pathlib
import shutil
import statistics
import time
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.compare.cell import Cell, Result
from packnet_tf.compare.method import Method
from packnet_tf.errors import DivergedError
from packnet_tf.workflow.metrics import accuracy
from packnet_tf.workflow.report import size_of

# Calls with one image: the first ones are slower.
_WARM, _TIMED = 5, 30


def run_cell(method: type[Method], cell: Cell) -> Result:
    """Learns the tasks of a cell with one method.

    Args:
        method: The method.
        cell: The tasks, the budget, the learning rate and the seed.

    Returns:
        What was measured. The test images are read only if the cell has them.
    """
    options = cell.options
    result = Result(method.name, options.learning_rate, options.seed)
    # The same start, whatever ran before in this process.
    keras.utils.set_random_seed(options.seed)
    learner = method(cell)
    test: list[list[float | None]] = []
    sizes: list[int | None] = []
    seconds = 0.0
    for place in range(len(cell.tasks)):
        start = time.monotonic()
        try:
            learner.learn(place)
        except DivergedError:
            return dataclasses.replace(result, diverged=True)
        seconds += time.monotonic() - start
        if cell.tests is None:
            continue
        if method.together and place + 1 < len(cell.tasks):
            test.append([None] * (place + 1))
            sizes.append(None)
            continue
        test.append(_accuracies(learner, cell.tests[: place + 1]))
        sizes.append(_size(learner, cell.folder / "saved"))
    return dataclasses.replace(
        result,
        validation=_accuracies(learner, [t.validation for t in cell.tasks]),
        test=test,
        sizes=sizes,
        seconds=seconds,
        latency=None if cell.tests is None else _latency(learner, cell),
    )


def _accuracies(
    learner: Method, datasets: Sequence[tf.data.Dataset | None]
) -> list[float | None]:
    return [
        None if images is None else accuracy(learner.answering(place), images)
        for place, images in enumerate(datasets)
    ]


def _size(learner: Method, folder: pathlib.Path) -> int:
    """Returns the bytes of all that a method keeps, as files."""
    folder.mkdir(parents=True)
    learner.save(folder)
    size = size_of(folder)
    shutil.rmtree(folder)
    return size


def _latency(learner: Method, cell: Cell) -> float:
    """Returns the milliseconds of one image, as the median of many calls."""
    size = cell.network.image_size
    model = learner.answering(len(cell.tasks) - 1)
    answer = tf.function(lambda pixels: model(pixels, training=False))
    image = tf.constant(np.zeros((1, size, size, 3), np.float32))
    times = []
    for _ in range(_WARM + _TIMED):
        start = time.perf_counter()
        np.asarray(answer(image))
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times[_WARM:])
