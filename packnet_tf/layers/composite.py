"""Layers whose kernels are in layers that they make themselves.

Attention makes its projections in `build`, a recurrent layer its cell, a
block of a transformer all of its layers. What they make cannot be exchanged
from outside; but a twin is a subclass of its stock layer that adds nothing to
the program, so a stock layer becomes its twin in place, by a change of its
class.
"""

import functools
import types
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras
from keras.src.models.functional import Functional
from keras.src.saving.object_registration import GLOBAL_CUSTOM_NAMES
from keras.src.saving.serialization_lib import serialize_with_public_class

from packnet_tf.errors import ConversionError
from packnet_tf.layers.config import config_of
from packnet_tf.layers.masked import Masked, automatic_config
from packnet_tf.layers.registry import TWINS
from packnet_tf.tf_internals import layers_of

if TYPE_CHECKING:
    from keras.layers import Layer as _Layer
else:
    # The layer comes from the other base of a class that mixes this one in.
    _Layer = object

Inside = Mapping[str, Mapping[str, Any] | None]


class InnerTwins(_Layer):
    """Mixin for a layer: the layers that it makes are masked.

    Attributes:
        inside: What differs for some of the inner layers: the settings of
            the twin (`prunable`, `private_kernels`), or None for a layer
            that stays as it is, its weights private to each task. The keys
            are names, or paths of attributes (`attribute_paths`).
    """

    inside: Inside = types.MappingProxyType({})
    # Those of the layer that this one is in.
    _inside_around: Inside = types.MappingProxyType({})

    def mask_inner_layers(self) -> None:
        """Makes twins of the stock layers inside that have one."""
        inside = {**self._inside_around, **self.inside}
        paths = attribute_paths(self)
        parts = layers_of(self, include_self=False)
        given = {
            id(part): inside.get(paths.get(id(part), ""), inside.get(part.name))
            for part in parts
            if part.name in inside or paths.get(id(part)) in inside
        }
        left = {
            id(below)
            for part in parts
            if given.get(id(part), part) is None
            for below in layers_of(part)
        }
        for part in parts:
            twin = TWINS.get(type(part))
            if twin is None or id(part) in left:
                continue
            become(part, twin, given.get(id(part)) or {})
            if isinstance(part, InnerTwins):
                start = paths.get(id(part), "") + "."
                part.__dict__["_inside_around"] = {
                    key.removeprefix(start): settings
                    for key, settings in inside.items()
                }
                part.mask_inner_layers()

    def get_config(self) -> dict[str, Any]:
        """Returns the stock layer's config, and `inside` if it was set."""
        config = super().get_config()
        if self.inside:
            config["inside"] = dict(self.inside)
        return config

    def _post_build(self) -> None:
        # At the end of every build, and before Keras locks the state.
        super()._post_build()
        self.mask_inner_layers()
        names = {part.name for part in layers_of(self, include_self=False)}
        known = names.union(attribute_paths(self).values())
        unknown = [key for key in self.inside if key not in known]
        if names and unknown:
            raise ConversionError(
                f"inside= of layer {self.name!r} names {unknown[0]!r}, which "
                f"is no layer in it; expected names out of {sorted(names)}."
            )


class MaskedInside(InnerTwins):
    """Mixin for the twin of a layer that makes the layers with its kernels.

    Args:
        *args: Those of the stock layer.
        inside: See `InnerTwins`.
        **kwargs: Those of the stock layer.
    """

    def __init__(self, *args: Any, inside: Inside | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        _set_inside(self, inside)
        self.mask_inner_layers()


@keras.saving.register_keras_serializable("packnet_tf")
class MaskedLayers(InnerTwins):
    """Mixin of the classes that `masked_layers` makes.

    Files hold this class's name and that of the stock class: the class
    itself exists while the program runs.
    """

    stock: type[keras.layers.Layer]

    def get_config(self) -> dict[str, Any]:
        """Returns what makes the stock layer, its class, and `inside`."""
        config = config_of(self, self.stock)
        if self.inside:
            config["inside"] = dict(self.inside)
        config["stock"] = class_names(self.stock)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> keras.layers.Layer:
        """Makes the stock layer, and masks the layers inside it."""
        config = dict(config)
        names = config.pop("stock", None)
        inside = config.pop("inside", None)
        if cls is MaskedLayers:
            layer = keras.saving.deserialize_keras_object(
                {**names, "config": config}
            )
        else:
            layer = cls.stock.from_config(config)
        layer.__class__ = masked_layers(type(layer))  # type: ignore[arg-type]
        _set_inside(layer, inside)
        layer.mask_inner_layers()
        return layer


@functools.cache
def masked_layers(stock: type[keras.layers.Layer]) -> type[keras.layers.Layer]:
    """Returns the subclass of a class whose inner layers are masked.

    It serves every layer that is made of layers, whoever wrote it.

    Args:
        stock: Class of a layer without kernels of its own.
    """
    members: dict[str, Any] = {
        "stock": stock,
        "__doc__": f"A `{stock.__name__}`; the layers inside it are masked.",
        "__module__": __name__,
    }
    if getattr(stock.get_config, "_is_default", False):
        # A layer without a `get_config` of its own keeps Keras's automatic
        # one.
        members["get_config"] = automatic_config(MaskedLayers)
    cls = type(f"Masked{stock.__name__}", (MaskedLayers, stock), members)
    GLOBAL_CUSTOM_NAMES[cls] = keras.saving.get_registered_name(MaskedLayers)
    return cls


def class_names(cls: type[keras.layers.Layer]) -> dict[str, Any]:
    """Returns how a Keras file names a class."""
    names = serialize_with_public_class(cls, {})
    return {key: names[key] for key in names if key != "config"}


def _set_inside(layer: Any, inside: Inside | None) -> None:
    if inside:
        # Not by `setattr`: Keras would track the mapping.
        vars(layer)["inside"] = dict(inside)


def become(
    layer: keras.layers.Layer,
    twin: type[keras.layers.Layer],
    settings: Mapping[str, Any],
) -> None:
    """Makes a stock layer its masked twin, in place.

    Args:
        layer: The layer, built or not.
        twin: Its twin's class.
        settings: Those of the twin.
    """
    layer.__class__ = twin
    # Keras's wrapper of the stock class's; the twin refuses.
    vars(layer).pop("quantize", None)
    if isinstance(layer, Masked):
        layer._set_up(**settings)
        if layer.built:
            layer._add_masks()


def attribute_paths(layer: keras.layers.Layer) -> dict[int, str]:
    """Returns how the layers inside one are reached from it.

    Names do not tell: Keras gives a layer without a name another one
    whenever it is made.

    Returns:
        The path of attributes, such as `attention._query_dense` or `down.0`,
        by the `id` of the layer.
    """
    found: dict[int, str] = {}

    def look(value, path):
        if isinstance(value, keras.layers.Layer):
            if id(value) not in found:
                found[id(value)] = path
                enter(value, f"{path}.")
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                look(item, f"{path}.{index}")
        elif isinstance(value, dict):
            for key in sorted(value, key=str):
                look(value[key], f"{path}.{key}")

    def enter(outer, start):
        if isinstance(outer, (Functional, keras.Sequential)):
            inner = {part.name: part for part in outer.layers}
        else:
            inner = {k: v for k, v in vars(outer).items() if k != "_layers"}
        for key in sorted(inner):
            look(inner[key], f"{start}{key}")

    enter(layer, "")
    return found
