"""Fits the weights that stay so that a layer answers as it did before.

For a kernel as a matrix W [inputs, outputs], X [n, inputs] the layer's inputs
in the unpruned network, X' those in the network as pruned so far, W0 the
unpruned kernel and S the weights that may change:

    minimize over W on S:  |X' W - X W0|^2 / n + ridge |W - W0|^2

Outside S the weights keep their values: 0 where free, older tasks' elsewhere.
It is the layer-wise objective of Optimal Brain Compression (Frantar and
Alistarh, 2022). Every column has a support of its own, so there is no inverse
that serves all; conjugate gradients solve all columns at once.
"""

import dataclasses
from typing import Protocol

import numpy as np

# Share of the mean of H's diagonal that keeps weights near the old ones.
RIDGE_SHARE = 0.01
# Stopped long before it has converged, a fit depends on the order of the sums.
_ITERATIONS = 100
# Of the preconditioned residual's norm at the start.
_TOLERANCE = 1e-5
# Columns are solved in blocks of about as many weights as this.
_BLOCK = 1 << 23


class Moments(Protocol):
    """What the solver asks of a layer's inputs.

    H is X'^T X' / n, and C is X'^T X / n.
    """

    def diagonal(self) -> np.ndarray:
        """Returns the diagonal of H."""

    def product(self, weights: np.ndarray) -> np.ndarray:
        """Returns H @ weights."""

    def cross(self, weights: np.ndarray) -> np.ndarray:
        """Returns C @ weights."""


@dataclasses.dataclass(frozen=True)
class Gram:
    """The moments as matrices.

    Attributes:
        pruned: H, of shape [..., inputs, inputs].
        mixed: C, of the same shape.
    """

    pruned: np.ndarray
    mixed: np.ndarray

    def diagonal(self) -> np.ndarray:
        """Returns the diagonal of H."""
        return np.diagonal(self.pruned, axis1=-2, axis2=-1)

    def product(self, weights: np.ndarray) -> np.ndarray:
        """Returns H @ weights."""
        return self.pruned @ weights

    def cross(self, weights: np.ndarray) -> np.ndarray:
        """Returns C @ weights."""
        return self.mixed @ weights


@dataclasses.dataclass(frozen=True)
class Rows:
    """The moments of a layer with so many inputs that H would not fit.

    Attributes:
        pruned: X', of shape [..., rows, inputs].
        unpruned: X, of the same shape.
    """

    pruned: np.ndarray
    unpruned: np.ndarray

    def diagonal(self) -> np.ndarray:
        """Returns the diagonal of H."""
        squares = np.einsum("...ni,...ni->...i", self.pruned, self.pruned)
        return squares / self.pruned.shape[-2]

    def product(self, weights: np.ndarray) -> np.ndarray:
        """Returns H @ weights."""
        return self._back(self.pruned @ weights)

    def cross(self, weights: np.ndarray) -> np.ndarray:
        """Returns C @ weights."""
        return self._back(self.unpruned @ weights)

    def _back(self, outputs):
        return self.pruned.swapaxes(-2, -1) @ (outputs / outputs.shape[-2])


def fit(
    moments: Moments,
    unpruned: np.ndarray,
    start: np.ndarray,
    own: np.ndarray,
) -> np.ndarray:
    """Returns a kernel whose own weights are fitted.

    The same arguments give the same bytes. The arithmetic is that of the
    moments. With float32 the fit is as good, because only the small correction
    of the weights is solved for, but the last digits of the weights are not
    the same when rows were summed up in another order.

    Args:
        moments: Those of the layer's inputs.
        unpruned: W0, of shape [..., inputs, outputs]: a matrix, or one for
            each group.
        start: The same with the weights outside `own` as they will be; within
            `own` it equals W0.
        own: The support: True for the weights that may change.

    Returns:
        `start` with other values where `own` is True.

    Example:

    >>> x = np.array([[1.0, 1.0], [1.0, 0.9]])
    >>> gram = Gram(x.T @ x / 2, x.T @ x / 2)
    >>> w, kept = np.array([[1.0], [0.1]]), np.array([[True], [False]])
    >>> fit(gram, w, w * kept, kept).round(2)
    array([[1.09],
           [0.  ]])
    """
    fitted = start.copy()
    width = max(1, _BLOCK // max(1, start[..., 0].size))
    for first in range(0, start.shape[-1], width):
        block = (..., slice(first, first + width))
        correction = _correction(
            moments, unpruned[block], start[block], own[block]
        )
        fitted[block] += correction.astype(fitted.dtype)
    return fitted


def _correction(moments, unpruned, start, own):
    """Solves for what is added to `start`, 0 outside the support."""
    diagonal = moments.diagonal()
    dtype = diagonal.dtype
    unpruned, start = unpruned.astype(dtype), start.astype(dtype)
    residual = (moments.cross(unpruned) - moments.product(start)) * own
    ridge = dtype.type(RIDGE_SHARE) * diagonal.mean(-1)[..., None, None]
    # Where a group's inputs are all 0, any weights fit.
    scale = _ratio(np.ones_like(diagonal), diagonal + ridge[..., 0])[..., None]
    scaled = residual * scale
    direction = scaled.copy()
    size = _dots(residual, scaled)
    goal = size * dtype.type(_TOLERANCE**2)
    correction = np.zeros_like(start)
    for _ in range(_ITERATIONS):
        image = (moments.product(direction) + ridge * direction) * own
        length = _ratio(size, _dots(direction, image))
        correction += length * direction
        residual -= length * image
        scaled = residual * scale
        before, size = size, _dots(residual, scaled)
        if np.all(size <= goal):
            break
        direction *= _ratio(size, before)
        direction += scaled
    return correction


def _dots(left, right):
    """Returns the products of the columns, of shape [..., 1, outputs]."""
    return np.einsum("...io,...io->...o", left, right)[..., None, :]


def _ratio(over, under):
    """Divides, with 0 for what is divided by 0 or nearly so.

    Dead inputs have moments so small that a quotient would overflow.
    """
    least = np.finfo(under.dtype).eps ** 4
    return np.divide(over, under, out=np.zeros_like(over), where=under > least)
