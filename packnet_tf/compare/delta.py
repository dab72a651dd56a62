"""A separate fine-tune kept as one sign a weight and a scale a kernel.

As BitDelta (Liu et al. 2024): of what fine-tuning added to a kernel the signs
are kept, and the mean magnitude as their scale. The budget is spent as
PackNet spends it: the epochs of the train phase fine-tune, and those of the
retrain phase train scales, private variables and head with the signs fixed.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.compare.plain import Plain, assign, values_of
from packnet_tf.compare.replaced import Coded


class Delta(Coded):
    """The pretrained kernels, and signs times a scale on top of them."""

    name = "delta"
    frozen = True
    low, border, trained = -1.0, 0.0, False

    def prepare(self) -> None:
        """Makes the signs and the scales."""
        super().prepare()
        # The optimizer moves a factor, so that its steps suit any size.
        self._factors = [
            keras.Variable(1.0, name=f"factor_{i}")
            for i in range(len(self.kernels))
        ]
        self._sizes = [
            keras.Variable(0.0, trainable=False, name=f"size_{i}")
            for i in range(len(self.kernels))
        ]

    @property
    def scales(self) -> Sequence[keras.Variable]:
        """Sizes of the deltas, and the factors that correct them."""
        return [*self._factors, *self._sizes]

    def fit(self, place: int, model=None, **part: Any) -> None:
        """Fine-tunes, keeps the signs, and trains what is left."""
        options, start = self.cell.options, values_of(self.kernels)
        tuned = Plain.model(self, place)
        self.share(False)
        super().fit(place, tuned, epochs=options.train_epochs)
        deltas = [
            value - before
            for value, before in zip(
                values_of(self.kernels), start, strict=True
            )
        ]
        assign(self.kernels, start)
        assign(self.codes, [np.where(delta > 0, 1.0, -1.0) for delta in deltas])
        assign(self._sizes, [np.mean(np.abs(delta)) for delta in deltas])
        self.share(True)
        super().fit(
            place, epochs=options.retrain_epochs, first=options.train_epochs
        )

    def effective(self, place: int) -> tf.Tensor:
        """Returns a pretrained kernel with its signs and scale."""
        scale = self._factors[place].value * self._sizes[place].value
        kernel = self.kernels[place].value
        return kernel + tf.cast(scale * self.codes[place].value, kernel.dtype)
