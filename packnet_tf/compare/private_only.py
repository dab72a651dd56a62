"""Frozen kernels; everything small and the head are each task's own.

Normalization, biases and depthwise kernels have less than a tenth of a
network's weights (compare Mudrakarta et al. 2019, "K for the Price of 1").
"""

from collections.abc import Sequence

import keras

from packnet_tf.compare.plain import Plain


class PrivateOnly(Plain):
    """Tasks share the pretrained kernels and train only what is private."""

    name = "private_only"
    frozen = True

    def per_task(self) -> Sequence[keras.Variable]:
        """Returns what a `PackNet` has private copies of."""
        return self.private
