"""What of a model cannot be masked, or is not: found, and named."""

import itertools
from collections.abc import Container, Iterator, Sequence
from typing import Any

import keras

from packnet_tf.errors import ConversionError
from packnet_tf.layers import TWINS, Masked
from packnet_tf.tf_internals import is_graph, layers_of

# Their weights are private to each task, of whatever rank they are.
_SMALL = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
    keras.layers.PReLU,
)

_MOST_NAMED = 20  # Layers in one message.


def places(
    layer: keras.layers.Layer, place: keras.layers.Layer | None = None
) -> Iterator[tuple[keras.layers.Layer, keras.layers.Layer]]:
    """Yields each layer below `layer`, and the one in the graph it is in."""
    for part in layer._layers:
        outer = place or part
        yield outer, part
        yield from places(part, None if is_graph(part) else outer)


def unmasked_layers(
    model: keras.Model,
    skipped: Container[int] = (),
    will_mask: Container[type] = (),
) -> list[tuple[keras.layers.Layer, keras.layers.Layer]]:
    """Returns the layers whose kernels no mask covers, with their places.

    A kernel is a trainable weight of rank 2 or more of a layer that is not
    masked: the smaller ones are private variables. Axes of size 1 in front do
    not count: a class token of shape [1, 1, width] is a vector.

    Args:
        model: The model.
        skipped: `skipped_layers` of it.
        will_mask: Classes that count as masked.

    Returns:
        Pairs of the layer that stands in the model's graph, and the layer
        inside it (or itself) that has the kernels.
    """
    found = {}
    for place, part in places(model):
        if not is_graph(model):
            place = part
        if (
            any(_rank(v) >= 2 for v in part._trainable_variables)
            and not isinstance(part, (Masked, *_SMALL))
            and type(part) not in will_mask
            and id(part) not in skipped
        ):
            found[id(part)] = (place, part)
    return list(found.values())


def _rank(variable: keras.Variable) -> int:
    sizes = itertools.dropwhile(lambda size: size == 1, variable.shape)
    return len(list(sizes))


def refuse_unmasked(unmasked: Any) -> None:
    """Raises a ConversionError that names these layers, if there are any."""
    if not unmasked:
        return
    inner: dict[int, tuple[Any, list[str]]] = {}
    for place, part in unmasked:
        _, names = inner.setdefault(id(place), (place, []))
        if part is not place:
            names.append(part.name)
    listed = []
    for place, names in inner.values():
        kind = type(place).__name__
        inside = f", inside it {', '.join(names)}" if names else ""
        listed.append(f"{place.name!r} ({kind}{inside})")
    if len(listed) > _MOST_NAMED:
        listed[_MOST_NAMED:] = [f"and {len(listed) - _MOST_NAMED} more"]
    raise ConversionError(
        "These layers have kernels and no masked twin: "
        f"{'; '.join(listed)}. Skip them by name, skip=[...], to keep their "
        "weights private to each task, or derive them from "
        "packnet_tf.layers.Masked."
    )


def refuse_subclassed(
    model: keras.Model, plain: Sequence[keras.layers.Layer]
) -> None:
    """Raises a ConversionError if a subclassed model has plain layers."""
    if not plain:
        return
    inside = {
        id(part)
        for layer in plain
        for part in layers_of(layer, include_self=False)
    }
    plain = [layer for layer in plain if id(layer) not in inside]
    shown = [
        f"{layer.name!r} (use {TWINS[type(layer)].__name__} for "
        f"{type(layer).__name__})"
        for layer in plain
    ]
    if len(shown) > _MOST_NAMED:
        shown[_MOST_NAMED:] = [f"and {len(shown) - _MOST_NAMED} more"]
    raise ConversionError(
        f"Model {model.name!r} is the subclassed {type(model).__name__}, whose "
        "layers cannot be exchanged from outside; in its code, take these "
        f"layers from packnet_tf.layers: {', '.join(shown)}."
    )


def refuse_unmaskable(model: keras.Model, skipped: Container[int]) -> None:
    """Raises a ConversionError for layers that no mask can serve."""
    owners: dict[int, Any] = {}
    users: dict[int, Any] = {}
    for place, part in places(model):
        named = f"Layer {place.name!r} ({type(place).__name__})"
        if isinstance(part, keras.layers.RNN) and part.stateful:
            raise ConversionError(
                f"{named} has stateful=True: what a task answers would depend "
                "on the batches before; make it stateless, and hand states on "
                "as inputs and outputs."
            )
        other = users.setdefault(id(part), place)
        if is_graph(model) and other is not place and part.weights:
            raise ConversionError(
                f"{named} uses layer {part.name!r}, and so does "
                f"{other.name!r}; copies of them would have one each. Use it "
                "in one place, or derive both from packnet_tf.layers."
            )
        if id(part) in skipped:
            continue
        if isinstance(part, keras.layers.SpectralNormalization):
            raise ConversionError(
                f"{named} rewrites its kernel at every step, which would "
                "change packed tasks; take the normalization off, or skip it."
            )
        if type(part) in TWINS and (
            getattr(part, "lora_enabled", False)
            or part.quantization_mode is not None
        ):
            raise ConversionError(
                f"{named} has LoRA enabled or is quantized; mask the model "
                "it was before that."
            )
        for variable in (
            part._trainable_variables + part._non_trainable_variables
        ):
            other = owners.setdefault(id(variable), part)
            if other is not part:
                raise ConversionError(
                    f"{named} shares the variable {variable.path} with layer "
                    f"{other.name!r}, and copies would not; use one layer in "
                    "both places."
                )
