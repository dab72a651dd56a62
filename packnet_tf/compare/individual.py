"""Separate networks: every task fine-tunes a network of its own."""

from collections.abc import Sequence

import keras

from packnet_tf.compare.plain import Plain


class Individual(Plain):
    """A network for each task: nothing is shared, nothing is lost."""

    name = "individual"

    def per_task(self) -> Sequence[keras.Variable]:
        """Returns all of the network."""
        return [*self.kernels, *self.private]
