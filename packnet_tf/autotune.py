"""tf.data without autotuning, which can make the end of an iterator wait.

An autotuned iterator has a thread that sleeps between its optimizations, at
first for milliseconds, later for up to a minute. Whoever drops the iterator
cancels the thread, wakes it and waits for its end. But TensorFlow (2.21)
wakes it before it sets the flag that the thread looks at: often enough it
goes back to sleep, and the program stands still for the rest of its time.
Here the parallelism is known, so nothing is lost without autotuning. Nor does
rewriting the graph of a data set gain anything here: it finds nothing to fuse,
and takes as long as the first batch of a small set.
"""

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.data.ops import multi_device_iterator_ops


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the same data set, its iterators ready at once.

    They have no autotuning, and their graph is not rewritten.

    Args:
        dataset: One whose parallelism and buffers are numbers: those left to
            `tf.data.AUTOTUNE` keep the values they begin with.

    Example:

    >>> batches = without_autotune(dataset.batch(32).prefetch(2))
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.with_options(options)


@contextlib.contextmanager
def replicas_without_autotune() -> Iterator[None]:
    """Makes a strategy's iterators without autotuning, each replica's too.

    The iterator of a distributed data set has one more for each replica,
    whose options cannot be set from outside. So their maker is exchanged
    while the context is open.
    """
    stock = multi_device_iterator_ops._create_device_dataset

    def create(*args, **kwargs):
        return without_autotune(stock(*args, **kwargs))

    multi_device_iterator_ops._create_device_dataset = create
    try:
        yield
    finally:
        multi_device_iterator_ops._create_device_dataset = stock
