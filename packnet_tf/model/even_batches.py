"""Data of any kind, as Keras takes them, cut evenly among replicas."""

import math
from typing import Any

import keras
import tensorflow as tf

from packnet_tf.model.replicas import split_for_replicas
from packnet_tf.tf_internals.datasets import (
    ArrayDataAdapter,
    DataAdapter,
    QuietDistributed,
    data_adapter,
    split_validation,
)

# The strategies that give each replica a part of a batch.
SPLITTING = (
    tf.distribute.MirroredStrategy,
    tf.distribute.MultiWorkerMirroredStrategy,
)


class EvenBatches(DataAdapter):
    """Data of any kind for `fit`, `evaluate` or `predict`, evenly cut.

    Keras reads arrays, `PyDataset`s, generators and `tf.data` through
    adapters, and takes one in place of the data. This one distributes what
    Keras's own adapter gives with `split_for_replicas`.

    Args:
        strategy: The model's strategy.
        x: The data, as Keras takes them.
        **arguments: What belongs to them: `y`, `sample_weight`, `batch_size`,
            `steps_per_epoch`, `shuffle`, `class_weight`.
    """

    def __init__(
        self, strategy: tf.distribute.Strategy, x: Any, **arguments: Any
    ):
        self._stock = data_adapter(x, **arguments)
        self._strategy = strategy

    def get_tf_dataset(self):
        """Returns the distributed data set."""
        dataset = self._stock.get_tf_dataset()
        parts = split_for_replicas(self._strategy, dataset)
        if isinstance(parts, tf.data.Dataset):
            parts = QuietDistributed(
                self._strategy.experimental_distribute_dataset(parts)
            )
        return parts

    @property
    def num_batches(self):
        """How many batches there are, or None if Keras does not know."""
        batches = self._stock.num_batches
        if not isinstance(self._stock, ArrayDataAdapter) or not batches:
            return batches
        rows = self._stock.partial_batch_size or math.inf
        least = self._strategy.num_replicas_in_sync
        joined = rows < least and self._stock.batch_size + rows < 2 * least
        return batches - 1 if joined and batches > 1 else batches

    def on_epoch_begin(self):
        """Tells Keras's own adapter."""
        self._stock.on_epoch_begin()

    def on_epoch_end(self):
        """Tells Keras's own adapter."""
        self._stock.on_epoch_end()


def even_fit(
    strategy: tf.distribute.Strategy, arguments: dict[str, Any]
) -> dict[str, Any]:
    """Returns the arguments of a `fit` with all its data evenly cut.

    Args:
        strategy: The model's strategy.
        arguments: Those of `keras.Model.fit`, by name.
    """
    left = dict(arguments)
    data = [left.pop(name, None) for name in ("x", "y", "sample_weight")]
    batch_size = left.pop("batch_size", None)
    validation = left.pop("validation_data", None)
    share = left.pop("validation_split", 0.0)
    if share and validation is None:
        data, validation = split_validation(tuple(data), share)
    if validation is not None:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(validation)
        left["validation_data"] = EvenBatches(
            strategy,
            x,
            y=y,
            sample_weight=weight,
            batch_size=left.pop("validation_batch_size", None) or batch_size,
            steps_per_epoch=left.get("validation_steps"),
        )
    x, y, weight = data
    left["x"] = EvenBatches(
        strategy,
        x,
        y=y,
        sample_weight=weight,
        batch_size=batch_size,
        steps_per_epoch=left.get("steps_per_epoch"),
        shuffle=left.get("shuffle", True),
        class_weight=left.pop("class_weight", None),
    )
    return left


def even_evaluate(
    strategy: tf.distribute.Strategy, arguments: dict[str, Any]
) -> dict[str, Any]:
    """The same as `even_fit` for `keras.Model.evaluate` and `predict`."""
    left = dict(arguments)
    if not isinstance(left.get("x"), EvenBatches):  # In a `fit` it is one.
        left["x"] = EvenBatches(
            strategy,
            left.get("x"),
            y=left.pop("y", None),
            sample_weight=left.pop("sample_weight", None),
            batch_size=left.pop("batch_size", None),
            steps_per_epoch=left.get("steps"),
        )
    return left
