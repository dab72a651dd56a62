"""Private names of a strategy whose replicas are in several processes."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf


def are_several(strategy: tf.distribute.Strategy) -> bool:
    """Whether other processes train the same network.

    Args:
        strategy: Any strategy.
    """
    return (
        isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        and len(strategy.extended.worker_devices)
        < strategy.num_replicas_in_sync
    )


@contextlib.contextmanager
def the_same_on_all_workers() -> Iterator[None]:
    """Makes variables that begin with the same value on all workers.

    `MultiWorkerMirroredStrategy` sends what the chief's variables begin with
    to the other workers, and cannot send uint8. In here nothing is sent.

    Example:

    >>> with the_same_on_all_workers():
    ...     mask = tf.Variable(tf.zeros([2, 3], tf.uint8))
    """
    strategy = tf.distribute.get_strategy()
    if not are_several(strategy):
        yield
        return
    extended = strategy.extended
    workers, extended._num_workers = extended._num_workers, 1
    try:
        yield
    finally:
        extended._num_workers = workers
