"""Several replicas: equal variables on all, and no empty batch on any.

Keras creates a normalization layer's moving statistics without aggregation,
so each replica of a `MirroredStrategy` collects its own, and only replica 0's
are saved. And Keras splits a last batch with fewer rows than replicas so that
a replica gets none, which turns its statistics into NaN. Both are mended here.
"""

import contextlib
import functools
from collections.abc import Iterable, Iterator

import keras
import tensorflow as tf
from keras.src.trainers.epoch_iterator import EpochIterator

from packnet_tf.errors import DataError, FlagError
from packnet_tf.tf_internals import replicas_without_autotune, without_autotune


def equalize(
    strategy: tf.distribute.Strategy, variables: Iterable[keras.Variable]
) -> None:
    """Gives each variable the mean of its replicas' values, on all replicas.

    Call it in the cross-replica context. With one replica it does nothing.

    Args:
        strategy: The model's strategy.
        variables: Non-trainable floating-point variables.
    """
    if strategy.num_replicas_in_sync == 1:
        return
    for variable in variables:
        copies = strategy.experimental_local_results(variable.value)
        # One sum in one order, so that the bytes do not depend on which
        # replica finished first.
        mean = tf.add_n([tf.convert_to_tensor(copy) for copy in copies])
        mean = mean / tf.cast(len(copies), mean.dtype)
        for copy in copies:
            copy.assign(mean)


def split_for_replicas(
    strategy: tf.distribute.Strategy, dataset: tf.data.Dataset
):
    """Distributes batches so that every replica has rows in every step.

    Each global batch is cut into one part a replica, the first ones a row
    longer where it does not divide. A last batch with fewer rows than
    replicas is joined to the batch before it. No row is lost or repeated.

    Args:
        strategy: The model's strategy.
        dataset: Batched elements: a tensor, or any structure of tensors,
            with the rows along the first axis.

    Returns:
        A `tf.distribute.DistributedDataset`, or the dataset itself where
        there is only one replica.

    Raises:
        DataError: If the data set is known to be empty.
    """
    replicas = strategy.num_replicas_in_sync
    if replicas == 1 or not isinstance(dataset, tf.data.Dataset):
        return dataset
    if int(dataset.cardinality()) == 0:
        raise DataError("The data set has no batches; check its source.")
    parts = _join_short_tail(dataset, replicas).flat_map(
        lambda *element: _cut(_one(element), replicas)
    )
    parts = without_autotune(parts)
    return strategy.distribute_datasets_from_function(lambda _: parts)


def _one(element):
    """Undoes `tf.data`'s unpacking of single-component elements."""
    return element[0] if len(element) == 1 else element


def _rows(element) -> tf.Tensor:
    return tf.shape(tf.nest.flatten(element)[0], out_type=tf.int64)[0]


def _join_short_tail(dataset, replicas):
    """Joins a last batch of fewer rows than replicas to the one before."""
    spec = tf.nest.map_structure(
        lambda s: tf.TensorSpec([None, *s.shape[1:]], s.dtype),
        dataset.element_spec,
    )
    nothing = tf.nest.map_structure(
        lambda s: tf.zeros([0] + [d or 0 for d in s.shape[1:]], s.dtype), spec
    )
    end = tf.data.Dataset.from_tensors(nothing)

    # The batch in hand is held back until the next one is seen: only then is
    # it known whether that one is long enough to stand alone.
    def step(held, element):
        rows = _rows(element)
        short = tf.logical_and(rows < replicas, _rows(held) > 0)
        joined = tf.nest.map_structure(
            lambda a, b: tf.concat([a, b], 0), held, element
        )

        def choose(condition, a, b):
            return tf.nest.map_structure(
                lambda x, y: tf.cond(condition, lambda: x, lambda: y), a, b
            )

        empty = tf.nest.map_structure(lambda x: x[:0], element)
        # The end marker only flushes; a real short batch is joined.
        out = choose(rows == 0, held, choose(short, empty, held))
        keep = choose(rows == 0, empty, choose(short, joined, element))
        return keep, out

    dataset = dataset.map(lambda *e: _one(e)).concatenate(end)
    dataset = dataset.scan(nothing, step)
    return dataset.filter(lambda *e: _rows(_one(e)) > 0)


def _cut(element, replicas):
    rows = _rows(element)
    enough = tf.debugging.assert_greater_equal(
        rows,
        tf.constant(replicas, tf.int64),
        "The data set has fewer rows than there are replicas; use fewer "
        "replicas.",
    )
    with tf.control_dependencies([enough]):
        base, extra = rows // replicas, rows % replicas
    index = tf.range(replicas, dtype=tf.int64)
    sizes = base + tf.cast(index < extra, tf.int64)
    starts = tf.cumsum(sizes, exclusive=True)
    return tf.data.Dataset.from_tensor_slices((starts, sizes)).map(
        lambda start, size: tf.nest.map_structure(
            lambda x: x[start : start + size], element
        )
    )


@contextlib.contextmanager
def even_batches(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Makes Keras cut batches so that no replica's part is empty.

    Keras distributes the data set inside its epoch iterator, after every
    kind of input (arrays, `PyDataset`, `tf.data`) has become one: the single
    place through which all of them pass, and one without a hook. So its
    constructor is exchanged while a `fit` or `evaluate` runs.

    Args:
        strategy: The model's strategy; with one replica nothing is done.
    """
    if strategy.num_replicas_in_sync == 1:
        yield
        return
    stock = EpochIterator.__init__

    def init(iterator, *args, **kwargs):
        stock(iterator, *args, **kwargs)
        adapter = _EvenAdapter(iterator.data_adapter, strategy)
        iterator.data_adapter = adapter
        iterator._num_batches = adapter.num_batches
        if adapter.num_batches is None and not iterator.steps_per_epoch:
            # The end is how the number becomes known; no reason to warn.
            iterator._interrupted_warning = lambda: None

    EpochIterator.__init__ = init
    try:
        with replicas_without_autotune():
            yield
    finally:
        EpochIterator.__init__ = stock


class _EvenAdapter:
    """A Keras data adapter whose data set is cut by `split_for_replicas`."""

    def __init__(self, adapter, strategy):
        self._adapter = adapter
        self._strategy = strategy

    def __getattr__(self, name):
        return getattr(self._adapter, name)

    def get_tf_dataset(self):
        return split_for_replicas(
            self._strategy, self._adapter.get_tf_dataset()
        )

    @property
    def num_batches(self):
        batches = self._adapter.num_batches
        if not batches or not self._adapter.has_partial_batch:
            # A `tf.data` set does not know its last batch: it may be joined
            # to the one before, so the number is open until one epoch ran.
            known = self._adapter.has_partial_batch is False
            return batches if known else None
        rows = self._adapter.partial_batch_size
        joined = rows is not None and rows < self._strategy.num_replicas_in_sync
        return batches - 1 if joined and batches > 1 else batches


def make_strategy(replicas: int | None = None) -> tf.distribute.Strategy:
    """Returns a `MirroredStrategy` over the machine's devices.

    Call it before TensorFlow has used a device: a CPU is split into logical
    devices then, which makes several replicas possible anywhere.

    Args:
        replicas: How many; all GPUs (or one CPU) if None.

    Raises:
        FlagError: If there are not as many devices.
    """
    gpus = tf.config.list_physical_devices("GPU")
    count = replicas if replicas is not None else max(len(gpus), 1)
    if count < 1:
        raise FlagError(f"--replicas={count}: expected 1 or more.")
    if gpus:
        if count > len(gpus):
            raise FlagError(
                f"--replicas={count}: this machine has {len(gpus)} GPU(s)."
            )
        return _mirrored("GPU", count)
    if count > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        try:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * count
            )
        except RuntimeError as error:
            if len(tf.config.list_logical_devices("CPU")) < count:
                raise FlagError(
                    f"--replicas={count}: TensorFlow has begun to use the CPU "
                    "as fewer devices; make the strategy first."
                ) from error
    return _mirrored("CPU", count)


@functools.cache
def _mirrored(kind: str, count: int) -> tf.distribute.Strategy:
    # One for all: TensorFlow numbers the collective operations of each
    # strategy from the same start, and those of two strategies on the same
    # devices mix in one process ("Shape mismatch in the collective").
    return tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(count)])
