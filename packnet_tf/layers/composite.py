"""Masks the layers that a layer creates itself.

Attention creates its projections in `build`, and a recurrent layer creates
its cell. They become masked as soon as they exist, also when a file is loaded.
"""

import functools
import types
from collections.abc import Mapping
from typing import Any

import keras

from packnet_tf.errors import ConversionError
from packnet_tf.layers.config import automatic_config, config_of
from packnet_tf.layers.paths import attribute_paths, current_path
from packnet_tf.layers.registry import TWINS, become
from packnet_tf.tf_internals.files import (
    class_names,
    is_automatic,
    register_file_name,
)
from packnet_tf.tf_internals.layers import AfterBuild, layers_of

Inside = Mapping[str, Mapping[str, Any] | None]
NOTHING: Inside = types.MappingProxyType({})


class InnerTwins(AfterBuild):
    """Mixin for a layer whose inner layers are masked.

    Attributes:
        inside: Settings of some inner layers' twins (`prunable`,
            `private_kernels`), or None for a layer that stays as it is, with
            weights private to each task. Keys are names, or paths of
            attributes (`attribute_paths`).
    """

    inside: Inside = NOTHING
    # The settings of the enclosing layer.
    _inside_around: Inside = NOTHING

    def become_masked(
        self, inside: Inside | None = None, around: Inside = NOTHING
    ):
        """Masks the inner layers, also after a change of class to this one.

        Args:
            inside: See the attribute.
            around: The settings of the enclosing layer, with paths relative
                to this one.
        """
        # `setattr` would make Keras track the mappings.
        if inside:
            given = {current_path(key): inside[key] for key in inside}
            self.__dict__["inside"] = given
        if around:
            self.__dict__["_inside_around"] = around
        self.mask_inner_layers()

    def become_stock(self, stock: type[keras.layers.Layer]) -> None:
        """Prepares for a change of class to the stock class."""
        for setting in ("inside", "_inside_around"):
            self.__dict__.pop(setting, None)

    def mask_inner_layers(self) -> None:
        """Turns the stock layers inside into their twins."""
        inside = {**self._inside_around, **self.inside}
        parts = layers_of(self, include_self=False)
        paths, named = attribute_paths(self), attribute_paths(self, True)
        given: dict[int, Mapping[str, Any] | None] = {}
        for part in parts:
            place = id(part)
            for key in (paths.get(place), named.get(place), part.name):
                if key in inside:
                    given[place] = inside[key]
                    break
        left = {
            id(below)
            for part in parts
            if given.get(id(part), NOTHING) is None
            for below in layers_of(part)
        }
        for part in parts:
            twin = TWINS.get(type(part))
            if twin is None or id(part) in left:
                continue
            if issubclass(twin, InnerTwins):
                start = paths.get(id(part), "") + "."
                around = {k.removeprefix(start): v for k, v in inside.items()}
                become(part, twin, around=around)
            else:
                become(part, twin, **(given.get(id(part)) or {}))

    def get_config(self) -> dict[str, Any]:
        """Returns the stock layer's config, and `inside` if it was set."""
        config = super().get_config()
        if self.inside:
            config["inside"] = dict(self.inside)
        return config

    def after_build(self) -> None:
        """Masks the layers that `build` created."""
        super().after_build()
        self.mask_inner_layers()
        names = {part.name for part in layers_of(self, include_self=False)}
        known = names.union(
            attribute_paths(self).values(), attribute_paths(self, True).values()
        )
        unknown = [key for key in self.inside if key not in known]
        if names and unknown:
            raise ConversionError(
                f"inside= of layer {self.name!r} names {unknown[0]!r}, which "
                f"is not a layer inside it; expected some of {sorted(names)}."
            )


class MaskedInside(InnerTwins):
    """Mixin for the twin of a layer whose kernels are in inner layers.

    Args:
        *args: Those of the stock layer.
        inside: See `InnerTwins`.
        **kwargs: Those of the stock layer.
    """

    def __init__(self, *args: Any, inside: Inside | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.become_masked(inside)


@keras.saving.register_keras_serializable("packnet_tf")
class MaskedLayers(InnerTwins):
    """Mixin of the classes that `masked_layers` creates.

    Those classes exist only at run time, so files name this class and the
    stock class instead.
    """

    stock: type[keras.layers.Layer]

    def get_config(self) -> dict[str, Any]:
        """Returns the stock layer's config and class, and `inside`."""
        config = config_of(self, self.stock)
        if self.inside:
            config["inside"] = dict(self.inside)
        config["stock"] = class_names(self.stock)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> keras.layers.Layer:
        """Creates the stock layer, and masks the layers inside it."""
        config = dict(config)
        names = config.pop("stock", None)
        inside = config.pop("inside", None)
        if cls is MaskedLayers:
            layer = keras.saving.deserialize_keras_object(
                {**names, "config": config}
            )
        else:
            layer = cls.stock.from_config(config)
        twin = masked_layers(type(layer))  # type: ignore[arg-type]
        become(layer, twin, inside=inside)
        return layer


@functools.cache
def masked_layers(stock: type[keras.layers.Layer]) -> type[keras.layers.Layer]:
    """Returns the subclass of a class whose inner layers are masked.

    It works for any layer that is made of layers.

    Args:
        stock: Class of a layer without kernels of its own.
    """
    members: dict[str, Any] = {
        "stock": stock,
        "__doc__": f"A `{stock.__name__}`; the layers inside it are masked.",
        "__module__": __name__,
    }
    if is_automatic(stock.get_config):
        members["get_config"] = automatic_config(MaskedLayers)
    cls = type(f"Masked{stock.__name__}", (MaskedLayers, stock), members)
    register_file_name(cls, MaskedLayers)
    return cls
