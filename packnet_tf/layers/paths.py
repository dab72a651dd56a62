"""Paths of the layers inside a layer, which are the same in its copies.

Names are not: Keras gives an unnamed layer a new name each time it is created.
"""

from typing import Any

import keras

from packnet_tf.tf_internals.layers import has_graph

# Paths of release 0.1 go through TensorFlow's own record of attributes.
_OLD_START = "_self_unconditional_dependency_names."


def attribute_paths(
    layer: keras.layers.Layer, by_name: bool = False
) -> dict[int, str]:
    """Returns the paths of the layers inside a layer.

    Args:
        layer: The layer.
        by_name: Takes names in all models inside, as release 0.1 did. They
            are taken where a config holds them; in a model that a user's
            layer makes, the place in `layers` counts.

    Returns:
        The path of attributes, such as `attention._query_dense` or `down.0`,
        by the `id` of the layer.
    """
    found: dict[int, str] = {}

    def look(value, path, named):
        if isinstance(value, keras.layers.Layer):
            if id(value) not in found:
                found[id(value)] = path
                enter(value, f"{path}.", named)
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                look(item, f"{path}.{index}", named)
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                look(value[key], f"{path}.{key}", named)

    def enter(outer, start, named):
        if not has_graph(outer):
            named = by_name or (named and _is_stock(outer))
            inner = held_by(outer)
        elif named:
            inner = {part.name: part for part in outer.layers}
        else:
            inner = {str(i): part for i, part in enumerate(outer.layers)}
        for key in sorted(inner):
            look(inner[key], f"{start}{key}", named)

    enter(layer, "", True)
    return found


def held_by(layer: keras.layers.Layer) -> dict[str, Any]:
    """Returns a layer's attributes, without the records that Keras keeps."""
    return {
        key: value
        for key, value in vars(layer).items()
        if key != "_layers" and not key.startswith("_self_")
    }


def current_path(path: str) -> str:
    """Returns a file's path in the form of `attribute_paths`."""
    return path.replace(_OLD_START, "")


def _is_stock(layer: keras.layers.Layer) -> bool:
    return type(layer).__module__.startswith("keras.")
