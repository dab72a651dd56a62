"""Several workers: processes that train one network together.

All run the same program with the same options. Each computes a part of every
batch, and what a step makes of the parts is the same in all. The first, the
chief, alone writes files.
"""

import functools
import hashlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.errors import PackNetError
from packnet_tf.tf_internals.workers import are_several


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes."""
    return strategy.extended.should_checkpoint


def gather(strategy: tf.distribute.Strategy, row: np.ndarray) -> np.ndarray:
    """Returns a row of each worker's, in their order; waits for all.

    Every worker has to call it at the same place of the program.

    Args:
        strategy: The strategy of several workers.
        row: Numbers, int64 or float64 of shape [numbers], as many everywhere.

    Returns:
        An array of shape [replicas, numbers]: a worker with several replicas
        has its row several times.
    """
    return np.asarray(_gatherer(strategy)(tf.constant(row)))


@functools.cache
def _gatherer(strategy: tf.distribute.Strategy) -> Any:
    def gathered(row):
        context = tf.distribute.get_replica_context()
        return context.all_gather(row[None], axis=0)

    @tf.function(autograph=False)
    def gather_all(row):
        rows = strategy.run(gathered, args=(row,))
        return strategy.experimental_local_results(rows)[0]

    return gather_all


def meet(strategy: tf.distribute.Strategy) -> None:
    """Waits until all workers are here; returns at once if there is one."""
    if are_several(strategy):
        gather(strategy, np.zeros(1, np.int64))


def agree(strategy: tf.distribute.Strategy, value: bytes) -> bool:
    """Whether all workers have the same value; the same answer on all."""
    if not are_several(strategy):
        return True
    found = gather(strategy, digest(value))
    return bool(np.all(found == found[:1]))


def chiefs(strategy: tf.distribute.Strategy, row: np.ndarray) -> np.ndarray:
    """Returns the chief's row on all workers; see `gather`."""
    return gather(strategy, row)[0] if are_several(strategy) else row


def equalize(
    strategy: tf.distribute.Strategy, variables: list[keras.Variable]
) -> None:
    """Gives variables the mean of all replicas' values, on all workers.

    Args:
        strategy: The strategy of several workers.
        variables: Floating-point variables.
    """
    if not variables:
        return
    means = []
    for variable in variables:
        copies = strategy.experimental_local_results(variable.value)
        values = [np.asarray(copy, np.float64) for copy in copies]
        means.append(mean(np.stack(values)).reshape(-1))
    # All workers compute the same mean of the same rows.
    joined = mean(gather(strategy, np.concatenate(means)))
    ends = np.cumsum([len(part) for part in means])[:-1]
    for variable, value in zip(variables, np.split(joined, ends), strict=True):
        variable.assign(value.reshape(variable.shape))


def mean(rows: np.ndarray) -> np.ndarray:
    """Returns the mean of rows in float64, summed in their order.

    Numbers that all rows share stay what they are: in float32, the mean of
    seven equal numbers is another one.
    """
    sums = np.add.reduce(rows.astype(np.float64), axis=0)
    return np.where((rows == rows[0]).all(0), rows[0], sums / len(rows))


def digest(value: bytes) -> np.ndarray:
    """Returns a SHA-256 as four int64 numbers."""
    return np.frombuffer(hashlib.sha256(value).digest(), np.int64)


def refuse_differing(
    strategy: tf.distribute.Strategy, value: bytes, what: str, remedy: str
) -> None:
    """Refuses workers that would not run the same program.

    Args:
        strategy: The strategy.
        value: What has to be the same on all.
        what: Its name.
        remedy: What to do.

    Raises:
        PackNetError: On all workers, if it differs on one.
    """
    if not agree(strategy, value):
        raise PackNetError(
            f"The workers differ in {what}, and would train different "
            f"networks; {remedy}."
        )
