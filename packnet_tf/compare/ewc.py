"""Elastic Weight Consolidation (Kirkpatrick et al. 2017).

After each task the diagonal of the Fisher information says how much every
weight matters to it. Later tasks pay for moving weights that matter. The
online form of Schwarz et al. (2018, "Progress & Compress") keeps one sum of
the Fisher information and the newest weights, for any number of tasks.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.compare.cell import Cell
from packnet_tf.compare.plain import Plain, values_of

# Images that the Fisher information is estimated on, at most.
IMAGES = 256


class ElasticWeightConsolidation(Plain):
    """Fine-tuning that pays for moving what older tasks need."""

    name = "ewc"

    def __init__(self, cell: Cell):
        super().__init__(cell)
        self._variables = self.backbone.trainable_variables
        self._fisher = [np.zeros(v.shape, np.float32) for v in self._variables]

    def fit(self, place: int, model=None, **part: Any) -> None:
        """Trains a task under the penalty of the older ones."""
        if place:
            anchors = [tf.constant(x) for x in values_of(self._variables)]
            fisher = [tf.constant(x) for x in self._fisher]
            strength = self.cell.compare.ewc_strength

            def penalty(images: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
                moved = [
                    tf.reduce_sum(f * tf.square(v.value - a))
                    for f, v, a in zip(
                        fisher, self._variables, anchors, strict=True
                    )
                ]
                return 0.5 * strength * tf.add_n(moved)

            self.models[place].penalty = penalty
        super().fit(place, model, **part)
        self.models[place].penalty = None
        self._add_fisher(place)

    def _add_fisher(self, place: int) -> None:
        """Adds the mean squared gradients of a task's own answers."""
        model, variables = self.models[place], self._variables

        @tf.function
        def squared(image: tf.Tensor, draw: tf.Tensor) -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                scores = model(image[None], training=False)[0]
                # A class drawn from the answer, not the label: else it is
                # the empirical Fisher information, which is 0 once a task
                # fits its images.
                drawn = tf.searchsorted(tf.cumsum(scores), [draw])[0]
                drawn = tf.minimum(drawn, tf.shape(scores)[0] - 1)
                log = tf.math.log(
                    tf.maximum(scores[drawn], keras.config.epsilon())
                )
            return [tf.square(g) for g in tape.gradient(log, variables)]

        random = np.random.default_rng(self.cell.options.seed)
        images = self.cell.tasks[place].train.epoch(0).unbatch().take(IMAGES)
        total, count = None, 0
        for image, _ in images:
            found = squared(image, tf.constant(random.random(), tf.float32))
            total = found if total is None else [*map(tf.add, total, found)]
            count += 1
        for kept, added in zip(self._fisher, total or (), strict=True):
            kept += np.asarray(added) / count
