"""Private names of how data reaches a training loop, and its iterators."""

import threading

import tensorflow as tf
from keras.src.trainers import data_adapters
from keras.src.trainers.data_adapters import array_slicing
from tensorflow.python.data.ops import multi_device_iterator_ops

# What Keras reads any kind of data with, and how `validation_split` cuts.
DataAdapter = data_adapters.data_adapter.DataAdapter
ArrayDataAdapter = data_adapters.ArrayDataAdapter
data_adapter = data_adapters.get_data_adapter
split_validation = array_slicing.train_validation_split


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the same data set without autotuning or graph rewriting.

    The autotuner of an iterator runs in a thread that sleeps for up to a
    minute between its rounds. Dropping the iterator wakes the thread before
    the flag is set that would end it (TensorFlow 2.21), so that often enough
    the program waits until the thread wakes by itself. Rewriting the graph
    finds nothing to fuse here, and takes as long as a small set's first batch.

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


class QuietDistributed(tf.distribute.DistributedDataset):
    """A distributed data set whose iterators do without autotuning.

    They have one more iterator for each replica, whose options cannot be set
    from outside (see `without_autotune`). So their maker is exchanged, under
    a lock and for as long as an iterator is made.

    Args:
        dataset: What a strategy has distributed.
    """

    _lock = threading.Lock()

    def __init__(self, dataset: tf.distribute.DistributedDataset):
        self._dataset = dataset

    def __iter__(self):
        """Returns a `tf.distribute.DistributedIterator`."""
        with self._lock:
            stock = multi_device_iterator_ops._create_device_dataset

            def create(*args, **kwargs):
                return without_autotune(stock(*args, **kwargs))

            multi_device_iterator_ops._create_device_dataset = create
            try:
                return iter(self._dataset)
            finally:
                multi_device_iterator_ops._create_device_dataset = stock

    @property
    def element_spec(self):
        """What each element is made of."""
        return self._dataset.element_spec

    def reduce(self, initial_state, reduce_func):
        """Reduces the data set, as `tf.data.Dataset.reduce` does."""
        return self._dataset.reduce(initial_state, reduce_func)
