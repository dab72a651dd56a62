"""Learning without Forgetting (Li and Hoiem 2016).

While a task is learned, the heads of older tasks are held to what they
answered on its images before: by a cross entropy of scores softened by a
temperature of 2, with weight 1, as the PackNet paper compares it.
"""

from typing import Any

import keras
import tensorflow as tf

from packnet_tf.compare.plain import Plain, assign, values_of
from packnet_tf.compare.training import Penalized, Penalty

TEMPERATURE = 2.0


class LearningWithoutForgetting(Plain):
    """Fine-tuning under distillation from the network before the task."""

    name = "lwf"

    def fit(self, place: int, model=None, **part: Any) -> None:
        """Trains a task while older heads keep their answers."""
        older = self.heads[:place]
        if older:
            features = self.backbone.outputs[0]
            heads = [self.heads[place], *older]
            scores = keras.layers.Concatenate()([h(features) for h in heads])
            # Old heads learn along, as in the paper.
            model = Penalized(self.backbone.inputs[0], scores)
            model.classes = self.heads[place].units
            model.penalty = self._distillation(older)
        super().fit(place, model, **part)

    def _distillation(self, older: list[keras.layers.Dense]) -> Penalty:
        """Returns the distance of older heads to the network of now."""
        teacher = self.cell.build().backbone
        assign(teacher.weights, values_of(self.backbone.weights))
        heads = []
        for head in older:
            copy = keras.layers.Dense(head.units, activation="softmax")
            copy.build(teacher.output_shape)
            assign(copy.weights, values_of(head.weights))
            heads.append(copy)
        sizes = [head.units for head in older]

        def distance(images: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
            features = teacher(images, training=False)
            return tf.add_n(
                [
                    _soft_cross_entropy(head(features), found)
                    for head, found in zip(
                        heads, tf.split(scores, sizes, axis=-1), strict=True
                    )
                ]
            )

        return distance


def _soft_cross_entropy(target: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
    """Returns the mean cross entropy of two scores at the temperature."""
    soft = tf.nn.softmax(_softened(target))
    log = tf.nn.log_softmax(_softened(found))
    return -tf.reduce_mean(tf.reduce_sum(soft * log, axis=-1))


def _softened(scores: tf.Tensor) -> tf.Tensor:
    """Returns logits of scores, divided by the temperature."""
    least = tf.cast(keras.config.epsilon(), scores.dtype)
    return tf.math.log(tf.maximum(scores, least)) / TEMPERATURE
