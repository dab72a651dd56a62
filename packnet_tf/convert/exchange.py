"""Which layer's copy gets another class, and how a config says so."""

import types
from collections.abc import Callable, Container, Mapping
from typing import Any, NamedTuple

import keras

from packnet_tf.layers import TWINS, Masked
from packnet_tf.layers.composite import (
    InnerTwins,
    MaskedLayers,
    attribute_paths,
    class_names,
    masked_layers,
)
from packnet_tf.layers.config import config_of, makes_itself
from packnet_tf.layers.masked import SETTINGS
from packnet_tf.tf_internals import is_graph, layers_of


class Exchange(NamedTuple):
    """What a layer's copy is instead of the layer's own class.

    Attributes:
        cls: Its class: a masked twin, or a stock layer.
        settings: What its config has beside that of the layer.
    """

    cls: type[keras.layers.Layer]
    settings: Mapping[str, Any] = types.MappingProxyType({})


Swap = Callable[[keras.layers.Layer], Exchange | None]


def to_masked(skipped: Container[int], depthwise: str) -> Swap:
    """Returns what exchanges stock layers for their masked twins.

    A layer of unknown class that makes layers with twins itself is exchanged
    for `masked_layers` of its class.

    Args:
        skipped: The `id` of layers that stay as they are.
        depthwise: See `mask_model`.
    """

    def settings_of(layer) -> dict[str, Any] | None:
        """Returns the settings of a layer's twin, None if it has none."""
        twin = TWINS.get(type(layer))
        if twin is None or id(layer) in skipped:
            return None
        if issubclass(twin, Masked) and depthwise == "private":
            private = list(twin.depthwise_kernels)
            return {"private_kernels": private} if private else {}
        return {}

    def swap(layer: keras.layers.Layer) -> Exchange | None:
        twin: type[keras.layers.Layer] | None = TWINS.get(type(layer))
        if id(layer) in skipped:
            twin = None
        elif twin is None and _hides_some(layer, swap):
            twin = masked_layers(type(layer))  # type: ignore[arg-type]
        if twin is None and not is_graph(layer) and not makes_itself(layer):
            # Its masked class has a config from which files can make it.
            twin = masked_layers(type(layer))  # type: ignore[arg-type]
        if twin is None:
            return None
        if not issubclass(twin, InnerTwins):
            return Exchange(twin, settings_of(layer) or {})
        paths = attribute_paths(layer)
        inside = {
            paths[id(part)]: settings_of(part)
            for part in layers_of(layer, include_self=False)
            if type(part) in TWINS and settings_of(part) != {}
        }
        return Exchange(twin, {"inside": inside} if inside else {})

    return swap


def to_stock(layer: keras.layers.Layer) -> Exchange | None:
    """Returns the stock layer that a masked twin stands in for."""
    for stock, twin in TWINS.items():
        if type(layer) is twin:
            return Exchange(stock)
    return Exchange(layer.stock) if isinstance(layer, MaskedLayers) else None


def exchanged(config: dict[str, Any], exchange: Exchange) -> dict[str, Any]:
    """Returns a layer's config as that of what it is exchanged for."""
    if not issubclass(exchange.cls, (Masked, InnerTwins)):
        config = {k: v for k, v in config.items() if k not in SETTINGS}
    settings = dict(exchange.settings)
    if issubclass(exchange.cls, MaskedLayers):
        settings["stock"] = class_names(exchange.cls.stock)
    return {**config, **settings}


def exchanged_inside(layer: keras.layers.Layer, swap: Swap) -> dict[str, Any]:
    """Returns a layer's config, with the layers that it names exchanged."""
    inner = {}
    for part in layers_of(layer, include_self=False):
        exchange = swap(part)
        if exchange is not None:
            inner[_key(part)] = exchange
    config = config_of(layer)

    def walk(item):
        if isinstance(item, (list, tuple)):
            return type(item)(walk(one) for one in item)
        if not isinstance(item, dict):
            return item
        exchange = inner.get(_named(item))
        item = {key: walk(value) for key, value in item.items()}
        if exchange is not None:
            item.update(class_names(exchange.cls))
            item["config"] = exchanged(item["config"], exchange)
        return item

    return walk(config) if inner else config


def _key(layer: keras.layers.Layer) -> tuple[str, str]:
    """Returns what `_named` returns for the layer's config."""
    return class_names(type(layer))["class_name"], layer.name


def _named(item: dict[str, Any]) -> tuple[str, str] | None:
    """Returns the class and name of the layer that part of a config is."""
    own = item.get("config")
    if not isinstance(own, dict) or "class_name" not in item:
        return None
    return str(item["class_name"]), own.get("name", "")


def _hides_some(layer: keras.layers.Layer, swap: Swap) -> bool:
    """Whether layers inside are to be exchanged that no config names."""
    if is_graph(layer) or not any(
        type(part) in TWINS for part in layers_of(layer, include_self=False)
    ):
        return False
    shown = set()

    def look(item):
        if isinstance(item, (list, tuple)):
            for one in item:
                look(one)
        elif isinstance(item, dict):
            shown.add(_named(item))
            look(list(item.values()))

    look(config_of(layer))

    def hides(outer) -> bool:
        return any(
            _key(part) not in shown and (swap(part) is not None or hides(part))
            for part in outer._layers
        )

    return hides(layer)
