"""Turns a model's layers into masked twins in place, and back."""

import functools
from collections.abc import Container
from typing import Any

import keras

from packnet_tf.layers import TWINS
from packnet_tf.layers.composite import InnerTwins, MaskedLayers, masked_layers
from packnet_tf.layers.config import config_of, makes_itself
from packnet_tf.layers.paths import attribute_paths
from packnet_tf.layers.registry import become, become_stock
from packnet_tf.tf_internals.layers import direct_layers, is_graph, layers_of


def promote(
    model: keras.Model, skipped: Container[int], depthwise: str
) -> None:
    """Turns the layers of a model into their masked twins, in place.

    A custom layer with maskable layers inside becomes an instance of
    `masked_layers` of its class, because it would create stock layers when
    loaded from a file. Keras's own, such as `TimeDistributed`, save theirs.

    Args:
        model: The model, which nothing else uses.
        skipped: The `id` of layers that stay as they are.
        depthwise: See `mask_model`.
    """
    done: set[int] = set()

    def settings_of(layer) -> dict[str, Any] | None:
        """Returns the settings of a layer's twin, or None to keep it plain."""
        if id(layer) in skipped:
            return None
        private = getattr(TWINS[type(layer)], "depthwise_kernels", ())
        if depthwise == "private" and private:
            return {"private_kernels": list(private)}
        return {}

    def visit(outer):
        for layer in direct_layers(outer):
            if id(layer) in done or isinstance(layer, InnerTwins):
                continue  # An InnerTwins has masked its own layers.
            done.add(id(layer))
            twin = None if id(layer) in skipped else TWINS.get(type(layer))
            if twin is None and _makes_layers(layer, skipped):
                twin = masked_layers(type(layer))
            if twin is None:
                visit(layer)
            elif issubclass(twin, InnerTwins):
                paths = attribute_paths(layer)
                inside = {
                    paths[id(part)]: settings_of(part)
                    for part in layers_of(layer, include_self=False)
                    if type(part) in TWINS and settings_of(part) != {}
                }
                become(layer, twin, inside=inside)
            else:
                become(layer, twin, **settings_of(layer))

    visit(model)


def _makes_layers(layer: Any, skipped: Container[int]) -> bool:
    """Whether loading a layer needs `masked_layers` of its class."""
    stock = type(layer).__module__.startswith("keras.")
    if stock or is_graph(layer):
        return False
    return not makes_itself(layer) or any(
        type(part) in TWINS and id(part) not in skipped
        for part in layers_of(layer, include_self=False)
    )


def demote(model: keras.Model) -> None:
    """Turns the masked twins of a model into stock layers, in place.

    A user's own masked layers stay as they are.
    """
    stock_of = {twin: stock for stock, twin in TWINS.items()}
    for part in layers_of(model):
        stock = stock_of.get(type(part))
        if isinstance(part, MaskedLayers):
            stock = part.stock
        if stock is not None:
            become_stock(part, stock)
            if not makes_itself(part):
                # So that a file of the model can be loaded.
                part.get_config = functools.partial(config_of, part)
