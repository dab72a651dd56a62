"""What a kernel was and will be, and which of its weights may be fitted."""

import dataclasses

import numpy as np

from packnet_tf.layers import MaskedKernel
from packnet_tf.masks import ownership


@dataclasses.dataclass(eq=False)
class Change:
    """A kernel that loses weights, or whose other weights were changed.

    Attributes:
        kernel: The kernel, whose variable is read but never written here.
        before: Its values in the network whose answers are to be kept.
        mask: Its mask after the change.
        owner: The task whose weights may be fitted.
        now: Its values after the change, where they are not those of
            `before` that the mask leaves the task.
        fitted: The values after the fit, or None before it.
    """

    kernel: MaskedKernel
    before: np.ndarray
    mask: np.ndarray
    owner: int
    now: np.ndarray | None = None
    fitted: np.ndarray | None = None

    @property
    def start(self) -> np.ndarray:
        """The values after the change, before the fit."""
        if self.now is not None:
            return self.now
        return ownership.view(self.before, self.mask, self.owner)

    @property
    def own(self) -> np.ndarray:
        """True for the weights that may be fitted."""
        return self.mask == self.owner

    @property
    def matters(self) -> bool:
        """Whether there is something to make up for, and to do so with."""
        return bool(self.own.any()) and not np.array_equal(
            self.before, self.start
        )
