"""Sums up a layer's inputs, in the pruned and in the unpruned network."""

import numpy as np
import tensorflow as tf

from packnet_tf.reconstruct.rows import Form
from packnet_tf.reconstruct.solver import Gram, Moments, Rows

# Kernels with more inputs (VGG's fc6 has 25,088) keep rows in place of H,
# which would take 2.5 GB: as many as take 512 MB.
WIDE = 8192
_KEPT_VALUES = 1 << 27
# More rows than this, and than 32 for each input, change the fit no more.
_ENOUGH_ROWS = 1 << 16
_ROWS_PER_INPUT = 32


class Statistics:
    """The rows that a kernel is multiplied by, summed up.

    Of a layer with very many rows, such as an early convolution, a fair
    sample is used. It is the same each time.

    Args:
        form: How the kernel's rows are read.
        expected: How many rows all images have together.
    """

    def __init__(self, form: Form, expected: int):
        most = max(_ENOUGH_ROWS, _ROWS_PER_INPUT * form.inputs)
        self._wide = form.inputs > WIDE
        if self._wide:
            most = max(1, _KEPT_VALUES // (form.inputs * form.groups))
        self._share = min(1.0, most / max(1, expected))
        # Few rows are multiplied by twice in less time than H is once.
        self._keeps_rows = self._wide or 2 * expected < form.inputs
        self._form = form
        self._random = np.random.default_rng(0)
        self._rows = 0
        self._kept: list[tuple[np.ndarray, np.ndarray]] = []
        self._sums: list[np.ndarray] = []

    def sample(self, shape) -> np.ndarray:
        """Returns the numbers of the rows to use of inputs of a shape."""
        count = self._form.count(shape)
        if self._share == 1.0:
            return np.arange(count)
        # At random, since a step could always meet the same column.
        number = max(1, round(self._share * count))
        return np.sort(self._random.choice(count, number, replace=False))

    def add(self, pruned: tf.Tensor, unpruned: tf.Tensor) -> None:
        """Adds rows.

        Args:
            pruned: Those in the network as pruned so far, of shape
                [groups, rows, inputs].
            unpruned: Those in the unpruned network.
        """
        pruned, unpruned = (_wide_enough(x) for x in (pruned, unpruned))
        self._rows += int(pruned.shape[1])
        if self._keeps_rows:
            self._kept.append((pruned.numpy(), unpruned.numpy()))
            return
        sums = [
            tf.matmul(pruned, x, transpose_a=True).numpy().astype(np.float64)
            for x in (pruned, unpruned)
        ]
        for i, one in enumerate(sums):
            if i == len(self._sums):
                self._sums.append(one)
            else:
                self._sums[i] += one

    def moments(self) -> Moments:
        """Returns the moments, with an axis for the groups; once."""
        # In float64: many steps of conjugate gradients make far more of the
        # rounding of a float32 than of another order of the sums. The rows of
        # a wide layer could take 2 GB so.
        if self._keeps_rows:
            dtype = None if self._wide else np.float64
            parts = zip(*self._kept, strict=True)
            return Rows(
                *(np.concatenate(part, axis=1, dtype=dtype) for part in parts)
            )
        # In place, since H of a wide layer takes half a GB.
        sums, self._sums = self._sums, []
        for one in sums:
            one /= self._rows
        return Gram(*sums)

    @property
    def finite(self) -> bool:
        """Whether all rows were finite numbers."""
        if self._keeps_rows:
            return all(
                np.isfinite(x).all() for pair in self._kept for x in pair
            )
        return all(np.isfinite(one).all() for one in self._sums)


def _wide_enough(x: tf.Tensor) -> tf.Tensor:
    """Returns values in float32, which sums of float16 would overflow."""
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)
