"""One network trained on the images of all tasks together.

The usual upper reference of continual learning: it needs all data at once.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.compare.plain import Plain
from packnet_tf.compare.training import Penalized, train


class Joint(Plain):
    """Learns all tasks with the last one, from batches that mix them."""

    name = "joint"
    together = True

    def fit(self, place: int, model=None, **part: Any) -> None:
        """Trains on all tasks once the last one has come."""
        if place + 1 < len(self.cell.tasks):
            return
        data = [task.train for task in self.cell.tasks]
        batch = self.cell.options.batch_size
        images = sum(len(one.source) for one in data)
        spans = _spans([head.units for head in self.heads])
        features = self.backbone.outputs[0]
        scores = keras.layers.Concatenate()(
            [head(features) for head in self.heads]
        )
        train(
            Penalized(self.backbone.inputs[0], scores),
            self.cell,
            f"{self.name} {len(data)} tasks",
            lambda epoch: self._mixed(epoch, spans),
            -(-images // batch),
            _of_its_task,
            **part,
        )

    def _mixed(
        self, epoch: int, spans: list[tuple[int, int, int]]
    ) -> tf.data.Dataset:
        """Returns batches of one epoch of all tasks, in a seeded order."""
        batch = self.cell.options.batch_size
        parts, sizes = [], []
        for task, span in zip(self.cell.tasks, spans, strict=True):
            images = task.train.epoch(epoch).unbatch()
            parts.append(images.map(lambda x, y, s=span: (x, _among_all(y, s))))
            sizes.append(len(task.train.source))
        mixed = tf.data.Dataset.sample_from_datasets(
            parts,
            weights=np.array(sizes) / sum(sizes),
            seed=self.cell.options.seed * 100_003 + epoch,
            stop_on_empty_dataset=False,
            rerandomize_each_iteration=False,
        ).batch(batch)
        # Keras could not know, and would warn where an epoch ends.
        count = tf.data.experimental.assert_cardinality(-(-sum(sizes) // batch))
        return mixed.apply(count)


def _spans(classes: list[int]) -> list[tuple[int, int, int]]:
    """Returns classes before, of, and after each task."""
    total = sum(classes)
    found, before = [], 0
    for count in classes:
        found.append((before, count, total - before - count))
        before += count
    return found


def _among_all(label: tf.Tensor, span: tuple[int, int, int]) -> tf.Tensor:
    """Returns a label among the classes of all tasks.

    Args:
        label: A class, or shares of all classes of its task.
        span: See `_spans`.
    """
    before, count, after = span
    shares = label
    if shares.shape.rank == 0:
        shares = tf.one_hot(label, count)
    return tf.pad(shares, [(before, after)])


def _of_its_task(labels: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """Returns the cross entropy: each head's scores have a sum of 1.

    Other tasks' shares are 0, so that only the head of the image's own task
    has a part in its loss.
    """
    scores = tf.maximum(scores, tf.cast(keras.config.epsilon(), scores.dtype))
    labels = tf.cast(labels, scores.dtype)
    return -tf.reduce_sum(labels * tf.math.log(scores), axis=-1)
