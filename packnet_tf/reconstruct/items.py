"""One kernel to fit: takes in the rows of its layer, and solves for it."""

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import tensorflow as tf

from packnet_tf.reconstruct import solver
from packnet_tf.reconstruct.changes import Change
from packnet_tf.reconstruct.rows import Form
from packnet_tf.reconstruct.statistics import Statistics


@dataclasses.dataclass(eq=False)
class Item:
    """A kernel to fit.

    Attributes:
        change: The kernel's change.
        form: How its rows are read.
        rows: How many rows an image has, over all calls.
        statistics: What was taken in so far, or None.
    """

    change: Change
    form: Form
    rows: int = 0
    statistics: Statistics | None = None

    def collect(
        self,
        unpruned: tf.Tensor,
        pruned: tf.Tensor,
        size: int,
        images: int,
        with_kernels: Callable[[bool], AbstractContextManager[None]],
    ) -> None:
        """Takes in inputs of the layer.

        Args:
            unpruned: Those in the unpruned network.
            pruned: Those in the network as pruned and fitted so far.
            size: How many of their rows to read at a time.
            images: How many images there are in all.
            with_kernels: Gives the layer the kernels of one of the networks.
        """
        if self.statistics is None:
            self.statistics = Statistics(self.form, self.rows * images)
        for first in range(0, unpruned.shape[0], size):
            rows = []
            part = slice(first, first + size)
            which = self.statistics.sample(tuple(unpruned[part].shape))
            for second, half in ((True, pruned), (False, unpruned)):
                with with_kernels(second):
                    rows.append(self.form.take(half[part], which))
            self.statistics.add(*rows)

    def fit(self) -> bool:
        """Fits the kernel, and returns whether its values are finite."""
        change, form, statistics = self.change, self.form, self.statistics
        self.statistics = None
        if statistics is None or not statistics.finite:
            return False
        start, own = change.start, change.own
        matrices = solver.fit(
            statistics.moments(),
            *(form.matrices(a) for a in (change.before, start, own)),
        )
        fitted = form.kernel(matrices, change.before.shape)
        fitted = np.where(own, fitted + np.zeros((), start.dtype), start)
        if not np.isfinite(fitted).all():
            return False
        change.fitted = fitted
        return True
