"""Finds a config that recreates a layer, even if its `get_config()` is wrong.

A class's `get_config()` may fail, or return entries that its `__init__` does
not take. Then the config is made of the arguments of `__init__`, which layers
usually keep as attributes of the same names.
"""

import inspect
from typing import Any

import keras

from packnet_tf.errors import ConversionError
from packnet_tf.tf_internals.files import mark_automatic

_UNKNOWN = object()
_TRUSTED = ("keras", "packnet_tf")


def config_of(
    layer: keras.layers.Layer, stock: type[keras.layers.Layer] | None = None
) -> dict[str, Any]:
    """Returns a config from which a layer of the same class can be created.

    It is the layer's own config if that works.

    Args:
        layer: The layer.
        stock: The class to create; by default the layer's.

    Raises:
        ConversionError: Naming the layer, if neither its config nor its
            attributes can recreate it.
    """
    cls = stock or type(layer)
    if makes_itself(layer, cls):
        return cls.get_config(layer)
    config = _arguments(layer, cls)
    try:
        # A copy, because from_config() may remove entries.
        cls.from_config(dict(config))
    except Exception as error:
        raise _cannot_be_copied(
            layer, cls, "its __init__() takes other arguments"
        ) from error
    return config


def makes_itself(
    layer: keras.layers.Layer, stock: type[keras.layers.Layer] | None = None
) -> bool:
    """Whether a layer's class accepts the layer's own config.

    Args:
        layer: The layer.
        stock: As for `config_of`.
    """
    cls = stock or type(layer)
    if cls.__module__.split(".")[0] in _TRUSTED:
        return True
    try:
        config = cls.get_config(layer)
    except Exception:
        return False
    taken = _parameters(cls)
    required = {
        name
        for name, parameter in taken.items()
        if parameter.default is parameter.empty
    }
    base = {"name", "trainable", "dtype"}
    if required <= set(config) <= {*taken, *base}:
        return True
    try:
        # **kwargs or a custom from_config() may take what the signature does
        # not name.
        cls.from_config(config)
    except Exception:
        return False
    return True


def _arguments(layer, cls) -> dict[str, Any]:
    """Returns the arguments that a layer was created with."""
    try:
        own = cls.get_config(layer)
    except Exception:
        own = {}
    config = {
        "name": layer.name,
        "trainable": layer.trainable,
        "dtype": keras.dtype_policies.serialize(layer.dtype_policy),
    }
    for name in _parameters(cls):
        value = own.get(name, getattr(layer, name, _UNKNOWN))
        if name not in own and not _is_plain(value):
            raise _cannot_be_copied(
                layer, cls, f"{name!r} is neither in it nor in an attribute"
            )
        config[name] = value
    return config


def _parameters(cls) -> dict[str, inspect.Parameter]:
    """Returns a class's parameters beyond those of every Keras layer."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if base is keras.layers.Layer:
            break
        if "__init__" not in vars(base):
            continue
        _, *parameters = inspect.signature(base.__init__).parameters.values()
        kinds = {parameter.kind for parameter in parameters}
        for parameter in parameters:
            if parameter.kind not in (
                parameter.VAR_POSITIONAL,
                parameter.VAR_KEYWORD,
            ):
                found.setdefault(parameter.name, parameter)
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            break  # The user cannot pass arguments to the base classes.
    return found


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))


def _cannot_be_copied(layer, cls, why: str) -> ConversionError:
    return ConversionError(
        f"Layer {layer.name!r} ({cls.__name__}) cannot be copied: its "
        f"get_config() does not fit its __init__() ({why}); write one that "
        "returns the arguments of its __init__()."
    )


def automatic_config(mixin: type) -> Any:
    """Returns a mixin's `get_config`, marked as Keras's automatic one.

    Keras records the arguments of `__init__` only for layers that have the
    automatic `get_config`.
    """

    @mark_automatic
    def get_config(self):
        return mixin.get_config(self)

    return get_config
