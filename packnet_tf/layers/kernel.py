"""One kernel under a mask, as the rest of the package sees it."""

import dataclasses
from typing import Any

import keras


@dataclasses.dataclass(frozen=True, eq=False)
class MaskedKernel:
    """One kernel of a masked layer.

    Attributes:
        layer: The layer, a `Masked`.
        name: The kernel's attribute, e.g. `"kernel"`.
        variable: The variable with the weights of all tasks.
        mask: The owner of each weight: 0 is free. Same shape.
    """

    layer: Any
    name: str
    variable: keras.Variable
    mask: keras.Variable

    @property
    def prunable(self) -> bool:
        """Whether pruning takes weights of this kernel."""
        return self.layer.is_prunable(self.name)

    @property
    def path(self) -> str:
        """Where the kernel is, as Keras writes it: `conv1/kernel`."""
        return self.variable.path

    @property
    def channel_axes(self) -> tuple[int, ...]:
        """The axes that number its output channels, counted from the end."""
        return self.layer.kernel_channel_axes(self.name)
