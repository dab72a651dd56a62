"""Fits a batch normalization's statistics so that it answers as before.

A fitted kernel explains a part of the unpruned layer's outputs, and what it
does not explain is missing from their variance. The normalization after it
makes up for that: its moving statistics become those with which each
channel's outputs have the mean and variance that they had.
"""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Scales change at most so much, up or down: a channel that is (nearly)
# constant in one of the networks has no scale to match.
_MOST = 10.0


@dataclasses.dataclass(eq=False)
class Normalization:
    """A batch normalization, of which the moving statistics are fitted.

    Attributes:
        layer: The layer, whose variables are read but never written here.
        mean: The moving mean after the fit, or None before it.
        variance: The moving variance after the fit, or None before it.
    """

    layer: Any
    mean: np.ndarray | None = None
    variance: np.ndarray | None = None

    @property
    def values(self) -> list[tuple[keras.Variable, np.ndarray]]:
        """The variables that change, with their values after the fit."""
        if self.mean is None or self.variance is None:
            return []
        layer = self.layer
        return [
            (layer.moving_mean, self.mean),
            (layer.moving_variance, self.variance),
        ]

    def fit(self, unpruned: tf.Tensor, pruned: tf.Tensor, size: int) -> bool:
        """Fits the statistics, and returns whether they are finite.

        Args:
            unpruned: The layer's inputs in the unpruned network.
            pruned: Those in the network as pruned and fitted so far.
            size: How many of their rows to read at a time.
        """
        layer = self.layer
        spreads = [Spread(layer.axis), Spread(layer.axis)]
        for spread, x in zip(spreads, (unpruned, pruned), strict=True):
            for first in range(0, x.shape[0], size):
                spread.add(x[first : first + size])
        self.mean, self.variance = matching(
            np.asarray(layer.moving_mean),
            np.asarray(layer.moving_variance),
            layer.epsilon,
            *spreads,
        )
        return all(np.isfinite(value).all() for _, value in self.values)


def may_fit(layer: keras.layers.Layer) -> bool:
    """Whether a layer normalizes with moving statistics that may change."""
    stock = keras.layers.BatchNormalization
    return (
        isinstance(layer, stock)
        and type(layer).call is stock.call
        and layer.trainable
        and not layer.renorm
    )


class Spread:
    """Mean and variance of each channel, over rows that come in parts.

    Args:
        axis: The axis of the channels.
    """

    def __init__(self, axis: int):
        self._axis = axis
        self._rows = 0
        self._sums: Any = 0.0
        self._squares: Any = 0.0

    def add(self, x: tf.Tensor) -> None:
        """Adds the values of a tensor."""
        x = x if x.dtype == tf.float64 else tf.cast(x, tf.float32)
        channels = self._axis % len(x.shape)
        axes = [axis for axis in range(len(x.shape)) if axis != channels]
        mean, variance = (
            value.numpy().astype(np.float64) for value in tf.nn.moments(x, axes)
        )
        rows = int(tf.size(x)) // max(1, mean.size)
        self._rows += rows
        self._sums = self._sums + rows * mean
        self._squares = self._squares + rows * (variance + mean**2)

    @property
    def mean(self) -> np.ndarray:
        """The means, of shape [channels]."""
        return self._sums / self._rows

    @property
    def variance(self) -> np.ndarray:
        """The variances, of shape [channels]."""
        return np.maximum(self._squares / self._rows - self.mean**2, 0.0)


def matching(
    mean: np.ndarray,
    variance: np.ndarray,
    epsilon: float,
    unpruned: Spread,
    pruned: Spread,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns statistics with which outputs are spread as before.

    Args:
        mean: The moving mean in the unpruned network, of shape [channels].
        variance: The moving variance there.
        epsilon: What the layer adds to it.
        unpruned: The spread of the inputs in the unpruned network.
        pruned: That in the pruned network.

    Returns:
        The moving mean and variance for the pruned network.
    """
    old = np.sqrt(variance.astype(np.float64) + epsilon)
    # A part of the scale, below which a channel counts as constant.
    least = (1e-4 * old) ** 2
    ratio = np.sqrt((pruned.variance + least) / (unpruned.variance + least))
    scale = old * np.clip(ratio, 1 / _MOST, _MOST)
    changed = np.maximum(scale**2 - epsilon, 0.0)
    scale = np.sqrt(changed + epsilon)
    moved = pruned.mean - (unpruned.mean - mean) * scale / old
    return moved.astype(mean.dtype), changed.astype(variance.dtype)
