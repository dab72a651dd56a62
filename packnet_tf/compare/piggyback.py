"""Piggyback (Mallya et al. 2018): a binary mask a task over frozen kernels.

Each weight has a score, and is used if the score is above a threshold; the
gradient passes the threshold unchanged. In the paper scores start at twice
the threshold and have a tenth of the head's learning rate. Here both have one
rate, so scores and threshold are ten times the paper's: the same to an
optimizer that scales its steps, such as Adam.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from packnet_tf.compare.plain import assign
from packnet_tf.compare.replaced import Coded

START, THRESHOLD = 0.1, 0.05


@tf.custom_gradient
def used(scores: tf.Tensor) -> Any:
    """Returns 1 for scores above the threshold, and 0 for others."""
    return tf.cast(scores > THRESHOLD, scores.dtype), lambda gradient: gradient


class Piggyback(Coded):
    """Frozen kernels under learned masks; what is private is each task's."""

    name = "piggyback"
    frozen = True
    low, border, trained = 0.0, THRESHOLD, True

    def begin(self, place: int) -> None:
        """Lets a task begin with every weight in use."""
        super().begin(place)
        assign(self.codes, [np.full(c.shape, START) for c in self.codes])

    def effective(self, place: int) -> tf.Tensor:
        """Returns a frozen kernel under its mask."""
        kernel = self.kernels[place].value
        return kernel * tf.cast(used(self.codes[place].value), kernel.dtype)
