"""How much of a model is under masks, and which kernels are not."""

import dataclasses
import itertools
from collections.abc import Container, Iterator

import keras
import numpy as np

from packnet_tf.layers import Masked
from packnet_tf.tf_internals.layers import (
    direct_layers,
    is_graph,
    layers_of,
    own_variables,
)

# Their weights are always private to each task, whatever their rank.
_SMALL = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
    keras.layers.PReLU,
)


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How much of a model is under masks.

    Attributes:
        layers_masked: Number of layers with masked kernels.
        weights_masked: Number of weights in those kernels.
        weights_total: Number of weights of the model, without masks.
        skipped: Names of layers with kernels that are not masked; for a
            partly masked layer, `layer/kernel`.
    """

    layers_masked: int
    weights_masked: int
    weights_total: int
    skipped: tuple[str, ...] = ()

    def __str__(self) -> str:
        share = self.weights_masked / max(self.weights_total, 1)
        text = (
            f"{self.layers_masked} layers masked, {self.weights_masked:,} of "
            f"{self.weights_total:,} weights ({share:.1%})"
        )
        if self.skipped:
            text += f"; not masked: {', '.join(self.skipped)}"
        return text


def coverage(model: keras.Model) -> Coverage:
    """Returns how much of a model is under masks.

    Args:
        model: Any built Keras model.
    """
    kernels, masks = {}, set()
    layers = [part for part in layers_of(model) if isinstance(part, Masked)]
    for layer in layers:
        for kernel in layer.masked_kernels():
            kernels[id(kernel.variable)] = kernel.variable
            masks.add(id(kernel.mask))
    return Coverage(
        layers_masked=len(layers),
        weights_masked=sum(_size(v) for v in kernels.values()),
        weights_total=sum(
            _size(v) for v in model.weights if id(v) not in masks
        ),
        skipped=tuple(
            dict.fromkeys(
                [place.name for place, _ in unmasked_layers(model)]
                + [
                    f"{layer.name}/{kernel}"
                    for layer in layers
                    for kernel in layer.private_kernels
                ]
            )
        ),
    )


def _size(variable: keras.Variable) -> int:
    return int(np.prod(variable.shape))


def places(
    layer: keras.layers.Layer, place: keras.layers.Layer | None = None
) -> Iterator[tuple[keras.layers.Layer, keras.layers.Layer]]:
    """Yields each layer below `layer`, after the graph's layer around it."""
    for part in direct_layers(layer):
        outer = place or part
        yield outer, part
        yield from places(part, None if is_graph(part) else outer)


def unmasked_layers(
    model: keras.Model,
    skipped: Container[int] = (),
    will_mask: Container[type] = (),
) -> list[tuple[keras.layers.Layer, keras.layers.Layer]]:
    """Returns the layers with unmasked kernels, and their places.

    A kernel is a trainable weight of rank 2 or more; smaller weights are
    private variables. Leading axes of size 1 do not count, so a class token
    of shape [1, 1, width] is a vector.

    Args:
        model: The model.
        skipped: `skipped_layers` of it.
        will_mask: Classes that count as masked.

    Returns:
        Pairs of a layer in the model's graph, and the layer inside it (or
        itself) that has the kernels.
    """
    found = {}
    for place, part in places(model):
        if not is_graph(model):
            place = part
        if (
            any(_rank(v) >= 2 for v in own_variables(part, trainable_only=True))
            and not isinstance(part, (Masked, *_SMALL))
            and type(part) not in will_mask
            and id(part) not in skipped
        ):
            found[id(part)] = (place, part)
    return list(found.values())


def _rank(variable: keras.Variable) -> int:
    sizes = itertools.dropwhile(lambda size: size == 1, variable.shape)
    return len(list(sizes))
