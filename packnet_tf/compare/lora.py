"""LoRA (Hu et al. 2022): low-rank adapters a task on frozen kernels.

The adapters are Keras's own, `enable_lora`, which dense, einsum, embedding
and convolution layers have; other kernels (transposed and separable
convolutions, recurrent cells) and those under a constraint stay frozen. A
Keras layer can have one adapter, whose values are exchanged for each task.
"""

from collections.abc import Sequence
from typing import Any

import keras

from packnet_tf.compare.kernels import kernel_layers
from packnet_tf.compare.plain import Plain, set_trainable


class Lora(Plain):
    """Frozen kernels with adapters; what is private is each task's."""

    name = "lora"
    frozen = True

    def prepare(self) -> None:
        """Adds the adapters."""
        self._adapters: list[keras.Variable] = []
        for layer, name in kernel_layers(self.backbone):
            able: Any = layer
            if not hasattr(layer, "enable_lora") or able.lora_enabled:
                continue
            if getattr(layer, f"{name}_constraint") is not None:
                continue
            able.enable_lora(self.cell.compare.lora_rank)
            for half in "ab":
                # `lora_kernel_a`, `lora_embeddings_a`, and so on.
                self._adapters.append(getattr(layer, f"lora_{name}_{half}"))

    def share(self, frozen: bool) -> None:
        """Trains either the adapters or the kernels."""
        super().share(frozen)
        set_trainable(self._adapters, frozen)

    def per_task(self) -> Sequence[keras.Variable]:
        """Returns adapters, and what a `PackNet` has private copies of."""
        return [*self._adapters, *self.private]

    def begin(self, place: int) -> None:
        """Gives a task adapters that change nothing yet."""
        super().begin(place)
        first = keras.initializers.HeUniform(self.cell.options.seed + place)
        for half in self._adapters[::2]:
            half.assign(first(half.shape))
