"""Copies Keras models with all of their state.

Names, shared layers, nested models, random seeds and adapted preprocessing
are kept; Keras's own `clone_model` copies no state.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from packnet_tf.errors import ConversionError
from packnet_tf.layers import Masked
from packnet_tf.layers.config import config_of
from packnet_tf.layers.paths import held_by
from packnet_tf.tf_internals.layers import (
    copy_lambda,
    freeze_alone,
    has_graph,
    is_graph,
    layers_of,
    operation_of,
    own_variables,
)

_PARTS = (keras.layers.Layer, keras.random.SeedGenerator)


def clone_model(
    model: keras.Model, values: Mapping[int, np.ndarray] | None = None
) -> keras.Model:
    """Returns a copy of a functional or Sequential model, state included.

    The copy is not compiled. Its variables are made in the current
    distribution strategy. A layer stays frozen; a flag set on a single
    variable (`layer.bias.trainable`) is lost, as in all of Keras.

    Args:
        model: The model, built; nested models are copied too.
        values: See `copy_state`.

    Raises:
        ConversionError: If a part of the model cannot be copied.
    """
    layers = layers_of(model)
    for part in layers:
        _refuse_odd_model(part)
    clones: dict[int, Any] = {}
    custom = {
        type(layer).__name__: type(layer)
        for layer in layers
        if not type(layer).__module__.startswith("keras.")
    }

    def clone_part(part):
        if id(part) not in clones:
            if is_graph(part):
                clones[id(part)] = keras.models.clone_model(
                    part,
                    input_tensors=new_inputs(part),
                    clone_function=clone_part,
                )
            else:
                clones[id(part)] = _clone_layer(part)
        return clones[id(part)]

    with _uncompiled(layers), keras.saving.custom_object_scope(custom):
        twin = clone_part(model)
    copy_state(model, twin, values)
    for source, target in counterparts(model, twin).values():
        if isinstance(source, keras.layers.Layer):
            freeze_alone(target, not source.trainable)
    return twin


def copy_state(
    source: keras.layers.Layer,
    target: keras.layers.Layer,
    values: Mapping[int, np.ndarray] | None = None,
) -> None:
    """Copies a layer's state: weights, seeds, vocabularies.

    Args:
        source: A built layer.
        target: Its copy.
        values: Values to copy instead of a variable's own, by the
            variable's `id`. With values given, masks are not copied.

    Raises:
        ConversionError: If an inner layer has no counterpart in the copy.
    """
    pairs = counterparts(source, target)
    for part, copy in pairs.values():
        if isinstance(part, keras.random.SeedGenerator):
            copy.state.assign(np.asarray(part.state))
            continue
        if part.built and not copy.built:
            copy.build_from_config(part.get_build_config())
        _copy_own(part, copy, values)
    for part in layers_of(source):
        if id(part) not in pairs and part.weights:
            raise ConversionError(
                f"Layer {source.name!r} ({type(source).__name__}) makes its "
                f"inner layer {part.name!r} in a way that from_config() does "
                "not reproduce; make its get_config() complete."
            )


def counterparts(
    source: keras.layers.Layer, target: keras.layers.Layer
) -> dict[int, tuple[Any, Any]]:
    """Returns pairs of a layer's parts and those of its copy.

    Args:
        source: A layer.
        target: Its copy, possibly of masked twins.

    Returns:
        The part (a layer or seed generator) and its counterpart, by the `id`
        of the part. Outer layers come first.
    """
    found: dict[int, tuple[Any, Any]] = {}

    def meet(ours, theirs):
        if isinstance(ours, _PARTS):
            if id(ours) in found or not isinstance(theirs, _PARTS):
                return
            found[id(ours)] = (ours, theirs)
            if isinstance(ours, keras.layers.Layer):
                meet(*_inside(ours, theirs))
        elif isinstance(ours, (list, tuple)):
            if isinstance(theirs, (list, tuple)):
                for one, other in zip(ours, theirs, strict=False):
                    meet(one, other)
        elif isinstance(ours, dict) and isinstance(theirs, dict):
            for key in ours.keys() & theirs.keys():
                meet(ours[key], theirs[key])

    meet(source, target)
    return found


def _inside(ours, theirs) -> tuple[Any, Any]:
    if not has_graph(ours):
        return held_by(ours), held_by(theirs)
    by_name = [{p.name: p for p in model.layers} for model in (ours, theirs)]
    if by_name[0].keys() == by_name[1].keys():
        return by_name[0], by_name[1]
    # A layer that creates models gives their layers new names each time.
    return ours.layers, theirs.layers


def _copy_own(source, target, values) -> None:
    store: dict[str, Any] = {}
    source.save_own_variables(store)
    if isinstance(source, Masked) and values is not None:
        for kernel in source.masked_kernels():
            del store[f"{kernel.name}_mask"]
    values = values or {}
    store = {
        key: np.asarray(values.get(id(value), value))
        for key, value in store.items()
    }
    if store:
        target.load_own_variables(store)
    if hasattr(source, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            source.save_assets(folder)
            target.load_assets(folder)


def new_inputs(model: keras.Model) -> Any:
    """Returns inputs like the model's; Keras would give them other names."""
    if isinstance(model, keras.Sequential):
        return None  # Keras keeps the names here.

    def new_input(tensor):
        layer = operation_of(tensor)
        return keras.Input(
            batch_shape=layer.batch_shape,
            dtype=tensor.dtype,
            sparse=tensor.sparse,
            ragged=tensor.ragged,
            optional=layer.optional,
            name=layer.name,
        )

    return keras.tree.map_structure(new_input, model.input)


def _clone_layer(layer: Any) -> Any:
    if not isinstance(layer, keras.layers.Layer):
        # An operation on tensors; sharing it would keep the original model
        # alive.
        try:
            return type(layer).from_config(layer.get_config())
        except Exception:
            return layer
    if type(layer) is keras.layers.Lambda:
        return copy_lambda(layer)
    config = config_of(layer)
    try:
        return type(layer).from_config(config)
    except ConversionError:
        raise
    except Exception as error:
        raise ConversionError(
            f"Layer {layer.name!r} ({type(layer).__name__}) cannot be copied: "
            "its __init__() does not take what its get_config() returns "
            f"({str(error).split(chr(10))[-1]}); write a get_config() that "
            "returns the arguments of its __init__()."
        ) from error


def _refuse_odd_model(part: keras.layers.Layer) -> None:
    if not has_graph(part):
        return
    if not is_graph(part):
        raise ConversionError(
            f"Model {part.name!r} ({type(part).__name__}) has a call() of "
            "its own, which a copy would lose; make it a plain functional "
            "model, or build it from packnet_tf.layers."
        )
    if own_variables(part):
        raise ConversionError(
            f"Model {part.name!r} ({type(part).__name__}) has weights of "
            "its own besides its layers; put them into a layer."
        )


@contextlib.contextmanager
def _uncompiled(layers) -> Iterator[None]:
    """Keeps Keras from compiling the copies, with what may not serialize."""
    compiled = [part for part in layers if getattr(part, "compiled", False)]
    for part in compiled:
        part.compiled = False
    try:
        yield
    finally:
        for part in compiled:
            part.compiled = True
