"""Copies of Keras models in which some layers have another class.

`mask_model` swaps stock layers for masked twins, `extract` the other way;
both are this. Names, shared layers, nested models, random seeds and adapted
preprocessing are kept.
"""

import contextlib
import functools
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras.src.models.functional import Functional
from keras.src.saving.keras_saveable import KerasSaveable
from keras.src.saving.saving_lib import _walk_saveable

from packnet_tf.convert.exchange import (
    Swap,
    exchanged,
    exchanged_inside,
)
from packnet_tf.errors import ConversionError
from packnet_tf.layers import Masked
from packnet_tf.layers.config import config_of, makes_itself
from packnet_tf.tf_internals import is_graph, layers_of


def clone_model(
    model: keras.Model,
    swap: Swap,
    values: Mapping[int, np.ndarray] | None = None,
) -> keras.Model:
    """Returns a copy of a functional or Sequential model, layers swapped.

    The copy is not compiled. Its variables are made in the current
    distribution strategy.

    Args:
        model: The model, built; nested models are copied too.
        swap: Gives what a layer's copy shall be, or None for the same.
        values: Values to copy instead of a variable's own, by the
            variable's `id`. With values given, masks are not copied.

    Raises:
        ConversionError: If a part of the model cannot be copied.
    """
    layers = layers_of(model)
    for part in layers:
        graph = isinstance(part, (Functional, keras.Sequential))
        if graph and not is_graph(part):
            raise ConversionError(
                f"Model {part.name!r} ({type(part).__name__}) has a call() of "
                "its own, which a copy would lose; make it a plain functional "
                "model, or build it from packnet_tf.layers."
            )
        own = part._trainable_variables + part._non_trainable_variables
        if graph and own:
            raise ConversionError(
                f"Model {part.name!r} ({type(part).__name__}) has weights of "
                "its own beside its layers; put them into a layer."
            )
    clones: dict[int, Any] = {}
    classes = {type(layer).__name__: type(layer) for layer in layers}
    custom = {
        name: cls
        for name, cls in classes.items()
        if not cls.__module__.startswith("keras.")
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
                clones[id(part)] = _clone_layer(part, swap)
        return clones[id(part)]

    with _uncompiled(layers), keras.saving.custom_object_scope(custom):
        clone_part(model)
    done: set[int] = set()
    for layer in layers:
        twin = clones.get(id(layer))
        if twin is None:
            continue  # Inside another layer, which copies it.
        if is_graph(layer):
            # Not by the setter, which would reach the layers below.
            twin._trainable = layer._trainable
        else:
            copy_state(layer, twin, values, done)
    return clones[id(model)]


def copy_state(
    source: keras.layers.Layer,
    target: keras.layers.Layer,
    values: Mapping[int, np.ndarray] | None = None,
    done: set[int] | None = None,
) -> None:
    """Copies all that a layer has learned: weights, seeds, vocabularies.

    Inner layers are matched by the attributes that hold them, as in Keras's
    own files.

    Args:
        source: A built layer.
        target: Its copy, of the same class or its twin.
        values: See `clone_model`.
        done: The `id` of layers copied already; grows.

    Raises:
        ConversionError: If an inner layer has no counterpart.
    """
    done = set() if done is None else done
    _copy_tree(source, target, values, done)
    for inner in layers_of(source):
        if id(inner) not in done and inner.weights:
            raise ConversionError(
                f"Layer {source.name!r} ({type(source).__name__}) makes its "
                f"inner layer {inner.name!r} in a way that from_config() does "
                "not repeat; make its get_config() complete."
            )


def _copy_tree(source, target, values, done: set[int]) -> None:
    if id(source) in done:
        return
    done.add(id(source))
    if isinstance(source, keras.random.SeedGenerator):
        target.state.assign(np.asarray(source.state))
        return
    if isinstance(source, keras.layers.Layer):
        if source.built and not target.built:
            target.build_from_config(source.get_build_config())
        _copy_own(source, target, values)
    counterparts = dict(_children(target))
    for key, child in _children(source):
        if type(counterparts.get(key)) is type(child) or isinstance(
            counterparts.get(key), keras.layers.Layer
        ):
            _copy_tree(child, counterparts[key], values, done)


def _copy_own(source, target, values) -> None:
    store: dict[str, Any] = {}
    source.save_own_variables(store)
    if isinstance(source, Masked) and (
        values is not None or not isinstance(target, Masked)
    ):
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


def _children(parent) -> Iterator[tuple[tuple, Any]]:
    if not isinstance(parent, KerasSaveable):
        return
    for attribute, child in _walk_saveable(parent):
        if attribute == "layers" and isinstance(parent, Functional):
            # Two functional models of one config may list their layers in
            # another order, but their names are unique.
            for layer in child:
                yield (attribute, layer.name), layer
        else:
            yield from _unpack((attribute,), child)


def _unpack(key: tuple, child: Any) -> Iterator[tuple[tuple, Any]]:
    if isinstance(child, (keras.layers.Layer, keras.random.SeedGenerator)):
        yield key, child
    elif isinstance(child, (list, tuple)):
        for index, item in enumerate(child):
            yield from _unpack((*key, index), item)
    elif isinstance(child, dict):
        for name, item in child.items():
            yield from _unpack((*key, name), item)


def new_inputs(model: keras.Model) -> Any:
    """Returns inputs like the model's; Keras would give them other names."""
    if isinstance(model, keras.Sequential):
        return None  # There it does not.

    def new_input(tensor):
        layer = tensor._keras_history.operation
        return keras.Input(
            batch_shape=layer.batch_shape,
            dtype=tensor.dtype,
            sparse=tensor.sparse,
            ragged=tensor.ragged,
            optional=layer.optional,
            name=layer.name,
        )

    return keras.tree.map_structure(new_input, model.input)


def _clone_layer(layer: Any, swap: Swap) -> Any:
    if not isinstance(layer, keras.layers.Layer):
        # An operation on tensors. Used as it is, it would keep the whole
        # model alive that it was taken from.
        try:
            return type(layer).from_config(layer.get_config())
        except Exception:
            return layer
    if type(layer) is keras.layers.Lambda:
        # Its config holds byte code without the globals it uses.
        return keras.layers.Lambda(
            layer.function,
            output_shape=layer._output_shape,
            mask=layer.mask,
            arguments=layer.arguments,
            name=layer.name,
            dtype=layer.dtype_policy,
            trainable=layer.trainable,
        )
    exchange = swap(layer)
    if exchange is None:
        cls, config = type(layer), exchanged_inside(layer, swap)
    else:
        cls, config = exchange.cls, exchanged(config_of(layer), exchange)
    try:
        copy = cls.from_config(config)
    except ConversionError:
        raise
    except Exception as error:
        raise ConversionError(
            f"Layer {layer.name!r} ({type(layer).__name__}) cannot be copied: "
            "its __init__() does not take what its get_config() returns "
            f"({str(error).split(chr(10))[-1]}); write a get_config() that "
            "returns the arguments of its __init__()."
        ) from error
    if not makes_itself(copy):
        # So that a file of the copy can be read.
        copy.get_config = functools.partial(config_of, copy)
    return copy


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
