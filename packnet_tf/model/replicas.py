"""Several replicas: equal variables on all, and no empty batch on any.

Keras creates a normalization layer's moving statistics without aggregation,
so each replica of a strategy collects its own, and only replica 0's are saved.
And Keras splits a last batch with fewer rows than replicas so that a replica
gets none, which turns its statistics into NaN. Both are mended here.
"""

import functools
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.errors import DataError, FlagError, first_line
from packnet_tf.model import workers
from packnet_tf.options.cluster import Cluster
from packnet_tf.tf_internals.datasets import (
    QuietDistributed,
    without_autotune,
)
from packnet_tf.tf_internals.workers import are_several

# Converting functions by AutoGraph takes longer than tracing them.
_as_it_is = tf.autograph.experimental.do_not_convert


def equalize(
    strategy: tf.distribute.Strategy, variables: Iterable[keras.Variable]
) -> None:
    """Gives each variable the mean of its replicas' values, on all replicas.

    Call it in the cross-replica context. With one replica it does nothing,
    and what is equal on all keeps its bytes.

    Args:
        strategy: The model's strategy.
        variables: Non-trainable floating-point variables.
    """
    if strategy.num_replicas_in_sync == 1:
        return
    if are_several(strategy):
        workers.equalize(strategy, list(variables))
        return
    for variable in variables:
        copies = strategy.experimental_local_results(variable.value)
        values = [np.asarray(copy) for copy in copies]
        first, *others = [v.reshape(-1).view(np.uint8) for v in values]
        if all(np.array_equal(first, other) for other in others):
            continue  # A frozen kernel may be large.
        mean = workers.mean(np.stack(values)).astype(values[0].dtype)
        for copy in copies:
            copy.assign(mean)


def split_for_replicas(
    strategy: tf.distribute.Strategy, dataset: tf.data.Dataset
):
    """Distributes batches so that every replica has rows in every step.

    Each global batch is cut into one part a replica, the first ones a row
    longer where it does not divide. A last batch with fewer rows than
    replicas gets some of the batch before it. No row is lost or repeated.

    Of several workers each reads all batches, and takes the parts of its own
    replicas.

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
    whole = _without_short_tail(dataset, replicas)

    def parts_here(context):
        def cut(*element):
            return _cut(_one(element), replicas, context)

        return without_autotune(whole.flat_map(_as_it_is(cut)))

    return QuietDistributed(
        strategy.distribute_datasets_from_function(parts_here)
    )


def _one(element):
    """Undoes `tf.data`'s unpacking of single-component elements."""
    return element[0] if len(element) == 1 else element


def _rows(element) -> tf.Tensor:
    return tf.shape(tf.nest.flatten(element)[0], out_type=tf.int64)[0]


def _without_short_tail(dataset, replicas):
    """Lengthens a last batch of fewer rows than replicas by the one before.

    The number of batches stays what it is, unless the batch before has too
    few rows itself: then the two become one.
    """
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
        rows, has = _rows(element), _rows(held)
        lent = replicas - rows
        lent = tf.where(has - lent >= replicas, lent, has)
        # The end marker has no rows; it only flushes.
        lent = tf.where(tf.logical_and(rows > 0, rows < replicas), lent, 0)

        def lengthen(before, x):
            return tf.cond(
                lent > 0,
                lambda: tf.concat([before[has - lent :], x], 0),
                lambda: x,
            )

        kept = tf.nest.map_structure(lengthen, held, element)
        return kept, tf.nest.map_structure(lambda x: x[: has - lent], held)

    dataset = dataset.map(_as_it_is(lambda *e: _one(e))).concatenate(end)
    dataset = dataset.scan(nothing, _as_it_is(step))
    return dataset.filter(_as_it_is(lambda *e: _rows(_one(e)) > 0))


def _cut(element, replicas, context):
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
    # In the order in which Keras puts the outputs of `predict` together: the
    # first replicas of all workers, then their second ones.
    here = slice(context.input_pipeline_id, None, context.num_input_pipelines)
    starts, sizes = starts[here], sizes[here]
    return tf.data.Dataset.from_tensor_slices((starts, sizes)).map(
        _as_it_is(
            lambda start, size: tf.nest.map_structure(
                lambda x: x[start : start + size], element
            )
        )
    )


def make_strategy(
    replicas: int | None = None, cluster: Cluster | None = None
) -> tf.distribute.Strategy:
    """Returns a strategy over the machine's devices, or those of a cluster.

    Call it before TensorFlow has used a device: a CPU is split into logical
    devices then, which makes several replicas possible anywhere.

    Args:
        replicas: How many; all GPUs (or one CPU) if None.
        cluster: What `TF_CONFIG` says, for a `MultiWorkerMirroredStrategy`
            over all GPUs (or one CPU) of each worker. It waits for them.

    Raises:
        FlagError: If there are not as many devices.
    """
    if cluster is not None and len(cluster.workers) > 1:
        return _multi_worker(cluster)
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


@functools.cache
def _multi_worker(cluster: Cluster) -> tf.distribute.Strategy:
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError) as error:
        address = cluster.workers[cluster.index]
        raise FlagError(
            f"--strategy=multi_worker: worker {cluster.index} of "
            f"{len(cluster.workers)}, {address}, cannot join the others "
            f"({first_line(error, 200)}); look at the addresses in "
            "TF_CONFIG, and start all workers again."
        ) from error
