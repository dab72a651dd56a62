"""Refuses models with layers that are not masked or cannot be."""

from collections.abc import Container, Sequence
from typing import Any

import keras

from packnet_tf.convert.coverage import places
from packnet_tf.errors import ConversionError
from packnet_tf.layers import TWINS
from packnet_tf.tf_internals.layers import is_graph, layers_of, own_variables

_MOST_NAMED = 20  # Layers in one message.


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
        "layers cannot be replaced from outside; in its code, take these "
        f"layers from packnet_tf.layers: {', '.join(shown)}."
    )


def refuse_unmaskable(model: keras.Model, skipped: Container[int]) -> None:
    """Raises a ConversionError for layers that cannot work with masks."""
    owners: dict[int, Any] = {}
    users: dict[int, Any] = {}
    for place, part in places(model):
        named = f"Layer {place.name!r} ({type(place).__name__})"
        if isinstance(part, keras.layers.RNN) and part.stateful:
            raise ConversionError(
                f"{named} has stateful=True: a task's answers would depend on "
                "earlier batches; make it stateless, and pass states as inputs "
                "and outputs."
            )
        other = users.setdefault(id(part), place)
        if is_graph(model) and other is not place and part.weights:
            raise ConversionError(
                f"{named} uses layer {part.name!r}, and so does "
                f"{other.name!r}; their copies would each have their own. Use "
                "it in one place, or derive both from packnet_tf.layers."
            )
        if id(part) in skipped:
            continue
        if isinstance(part, keras.layers.SpectralNormalization):
            raise ConversionError(
                f"{named} rewrites its kernel at every step, which would "
                "change packed tasks; remove the normalization, or skip it."
            )
        if type(part) in TWINS and (
            getattr(part, "lora_enabled", False)
            or part.quantization_mode is not None
        ):
            raise ConversionError(
                f"{named} has LoRA enabled or is quantized; mask the model "
                "before that."
            )
        for variable in own_variables(part):
            other = owners.setdefault(id(variable), part)
            if other is not part:
                raise ConversionError(
                    f"{named} shares the variable {variable.path} with layer "
                    f"{other.name!r}, but their copies would not; use one "
                    "layer in both places."
                )
