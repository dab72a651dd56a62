"""Selects the layers that the user keeps plain, and marks them."""

import difflib
from collections.abc import Callable, Iterable, Sequence

import keras

from packnet_tf.errors import ConversionError
from packnet_tf.layers.paths import attribute_paths, current_path
from packnet_tf.tf_internals.layers import layers_of

Skip = str | type | Callable[[keras.layers.Layer], bool]

# Set on a chosen layer, so that it stays plain if its model is masked again.
_MARK = "_kept_plain"


def chosen_layers(
    model: keras.Model, skip: Skip | Sequence[Skip]
) -> list[keras.layers.Layer]:
    """Returns the layers that stay plain, including those marked before.

    Args:
        model: The model.
        skip: As for `mask_model`.

    Raises:
        ConversionError: If `skip` has a name that no layer has, or an entry
            of another kind.
    """
    entries = as_list(skip)
    layers = layers_of(model, include_self=False)
    names = {layer.name for layer in layers}
    for entry in entries:
        if not (isinstance(entry, str) or callable(entry)):
            raise ConversionError(
                f"skip={entry!r}: expected a layer's name, a class of layers, "
                "or a function of a layer."
            )
        if isinstance(entry, str) and entry not in names:
            close = difflib.get_close_matches(entry, names, n=3)
            hint = f"; did you mean {', '.join(close)}?" if close else "."
            raise ConversionError(
                f"skip={entry!r}: model {model.name!r} has no such layer{hint}"
            )

    def matches(layer):
        return getattr(layer, _MARK, False) or any(
            layer.name == entry
            if isinstance(entry, str)
            else isinstance(layer, entry)
            if isinstance(entry, type)
            else entry(layer)
            for entry in entries
        )

    return [layer for layer in layers if matches(layer)]


def skipped_layers(
    model: keras.Model, skip: Skip | Sequence[Skip] = ()
) -> set[int]:
    """Returns the `id` of every layer that is skipped, or inside one.

    Args:
        model: The model.
        skip: As for `mask_model`.

    Raises:
        ConversionError: If `skip` has a name that no layer has, or an entry
            of another kind.
    """
    return {
        id(part)
        for layer in chosen_layers(model, skip)
        for part in layers_of(layer)
    }


def as_list(skip: Skip | Sequence[Skip]) -> list[Skip]:
    """Returns the entries of `skip=`, which may be a single one."""
    if isinstance(skip, (str, type)) or callable(skip):
        return [skip]
    return list(skip)


def mark_plain(layers: Iterable[keras.layers.Layer]) -> None:
    """Marks layers to stay plain."""
    for layer in layers:
        setattr(layer, _MARK, True)


def kept_paths(model: keras.Model) -> list[str]:
    """Returns the paths of marked layers, the same in the model's copies."""
    paths = attribute_paths(model)
    marked = chosen_layers(model, ())
    return sorted(paths[id(layer)] for layer in marked if id(layer) in paths)


def keep_plain(model: keras.Model, paths: Iterable[str]) -> None:
    """Marks layers of a model to stay plain.

    Args:
        model: The model.
        paths: What `kept_paths` returned for what it is a copy of.
    """
    wanted = {current_path(path) for path in paths}
    if not wanted:
        return
    found, named = attribute_paths(model), attribute_paths(model, by_name=True)
    mark_plain(
        layer
        for layer in layers_of(model, include_self=False)
        if found.get(id(layer)) in wanted or named.get(id(layer)) in wanted
    )
