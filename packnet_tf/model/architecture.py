"""What a backbone and its heads compute, apart from their weights.

A digest covers the bytes of a task. The same bytes answer otherwise where a
layer's activation or epsilon is another one. So the settings of all layers
are recorded when a task is packed, and compared whenever its digest is.

The form of a record is the same after a load, and with other releases of
Keras: it holds no names but for messages, settings that only one side has (the
defaults of a later release) are not compared, and what matters in training
alone is left out.
"""

import base64
import hashlib
import json
import marshal
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from packnet_tf.tf_internals.layers import direct_layers, has_graph

# A layer's record: its name, class and settings; JSON-able.
Form: TypeAlias = dict[str, Any]

# Settings on which answers do not depend: names, how weights begin and move,
# and what Keras keeps for itself.
_UNUSED = frozenset(
    """activity_regularizer build_config dropout module momentum name prunable
    recurrent_dropout registered_name seed shared_object_id synchronized
    trainable""".split()
)
_UNUSED_ENDINGS = ("initializer", "regularizer", "constraint")
_ONLY_IN_TRAINING = (
    keras.layers.ActivityRegularization,
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
)
_LOOKUPS = (keras.layers.StringLookup, keras.layers.IntegerLookup)
# The entries of longer lists, such as vocabularies, become one digest.
_LONGEST = 32
_CODES = "code of Python "
_CODE = f"{_CODES}{sys.version_info.major}.{sys.version_info.minor}"


def form_of(root: keras.layers.Layer, with_state: bool = True) -> list[Form]:
    """Returns the records of a built model or layer and all layers in it.

    Args:
        root: The model or layer.
        with_state: Whether vocabularies belong to it, which a file's network
            gets last.
    """
    return [
        {
            "name": layer.name,
            "class": type(layer).__name__,
            "settings": _settings(layer, with_state),
        }
        for layer in _uses(root)
        if not isinstance(layer, keras.layers.InputLayer)
    ]


def _uses(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """Yields a layer and all below it, as often as a layer is made of them.

    A layer that two models share is read from a file as two.
    """
    yield layer
    for part in direct_layers(layer):
        yield from _uses(part)


def differences(then: Sequence[Form], now: Sequence[Form]) -> Iterator[str]:
    """Yields a line for each setting that is another one.

    Args:
        then: What `form_of` returned first, or the same from a file.
        now: What it returns now.
    """
    if len(then) != len(now):
        yield f"there are {len(now)} layers, there were {len(then)}"
        return
    for old, new in zip(then, now, strict=True):
        layer = f"layer {new['name']!r}"
        if old["class"] != new["class"]:
            yield f"{layer} is a {new['class']}, it was a {old['class']}"
            continue
        for path, before, after in _changed(old["settings"], new["settings"]):
            yield (
                f"{layer} has {path}={_shown(after)}, it had {_shown(before)}"
            )


def same_to_the_letter(then: Sequence[Form], now: Sequence[Form]) -> bool:
    """Whether nothing is compared that only one of two records has."""

    def nameless(form):
        return json.dumps(
            [[part["class"], part["settings"]] for part in form],
            sort_keys=True,
        )

    return nameless(then) == nameless(now)


def _settings(layer: keras.layers.Layer, with_state: bool) -> dict[str, Any]:
    if isinstance(layer, _ONLY_IN_TRAINING):
        return {}
    if isinstance(layer, keras.Sequential):
        return {}  # Its layers have their own records.
    if isinstance(layer, keras.layers.Lambda):
        return {
            "function": _function(layer.function),
            "arguments": _plain(_serialized(layer.arguments)),
        }
    try:
        config = layer.get_config()
    except Exception:
        config = {}  # A subclassed model need not have one.
    if has_graph(layer) and "output_layers" in config:
        return {"graph": _graph(layer, config)}
    found = {
        key: _plain(_serialized(value))
        for key, value in config.items()
        if _counts(key)
    }
    if hasattr(layer, "get_vocabulary"):
        # A config has it where it was an argument, but not after each load.
        for key in ("vocabulary", "vocabulary_size", "idf_weights"):
            found.pop(key, None)
    if with_state and isinstance(layer, _LOOKUPS):
        found["vocabulary"] = _plain(layer.get_vocabulary())
        found["idf_weights"] = _plain(_numbers(layer, "idf_weights"))
    return found


def _numbers(layer: keras.layers.Layer, name: str) -> list[float] | None:
    value = getattr(layer, name, None)
    return None if value is None else np.asarray(value).tolist()


def _graph(model: keras.Model, config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns how the layers and operations of a model are connected."""
    # Names may be others in a copy.
    places = {part["name"]: i for i, part in enumerate(config["layers"])}
    layers = {layer.name for layer in model.layers}
    found: dict[str, Any] = {}
    for part in config["layers"]:
        key = f"{places[part['name']]} {part['class_name']}"
        uses = [
            [_plain(node["args"], places), _object("", node["kwargs"], places)]
            for node in part["inbound_nodes"]
        ]
        found[f"inputs of {key}"] = uses
        if part["name"] not in layers:
            found[f"operation {key}"] = _object("", part["config"], places)
    for key in ("input_layers", "output_layers"):
        found[key] = _plain(
            keras.tree.map_structure(
                lambda part: places.get(part, part), config[key]
            )
        )
    return found


def _counts(key: str) -> bool:
    return key not in _UNUSED and not key.endswith(_UNUSED_ENDINGS)


def _serialized(value: Any) -> Any:
    try:
        return keras.saving.serialize_keras_object(value)
    except Exception:
        return f"a {type(value).__name__}"


def _plain(value: Any, places: Mapping[str, int] | None = None) -> Any:
    """Returns a serialized value without names, as JSON gives it back."""
    if isinstance(value, dict):
        kind: str | None = value.get("class_name")
        config: Any = value.get("config")
        if kind is None:
            return {str(k): _plain(v, places) for k, v in value.items()}
        if kind == "__keras_tensor__" and places:
            name, *rest = config["keras_history"]
            return [places[name], *rest]
        if kind == "__tuple__":
            return _plain(value["items"], places)
        if kind == "__lambda__":
            return {_CODE: _code(config["code"])}
        if not isinstance(config, dict):
            return config  # The name of a function.
        if kind.endswith("DTypePolicy") and set(config) == {"name"}:
            return config["name"]
        return _object(kind, config, places)
    if isinstance(value, (list, tuple)):
        found = [_plain(part, places) for part in value]
        if len(found) <= _LONGEST:
            return found
        return f"{len(found)} entries, SHA-256 {_digest(found)}"
    if isinstance(value, (np.generic, np.ndarray)):
        return _plain(value.tolist(), places)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return f"a {type(value).__name__}"


def _object(
    kind: str, config: Mapping[str, Any], places: Mapping[str, int] | None
) -> dict[str, Any]:
    settings = {k: _plain(v, places) for k, v in config.items() if _counts(k)}
    return {"class": kind, "settings": settings}


def _function(function: Any) -> Any:
    """Returns what can be compared of a function: name, code, defaults."""
    code = getattr(function, "__code__", None)
    if code is None:
        return type(function).__name__
    if function.__name__ != "<lambda>":
        return function.__name__
    return {_CODE: _code(code)}


def _code(code: Any) -> str:
    if isinstance(code, str):
        # Its bytes depend on how often its parts are used elsewhere.
        code = marshal.loads(base64.b64decode(code))
    constants = [
        _code(part) if isinstance(part, types.CodeType) else repr(part)
        for part in code.co_consts
    ]
    return _digest([code.co_code.hex(), constants, list(code.co_names)])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _changed(
    then: Any, now: Any, path: str = "", open_ended: bool = True
) -> Iterator[tuple[str, Any, Any]]:
    """Yields path, old and new value of what differs in two settings.

    Args:
        then: The old value.
        now: The new one.
        path: Where they are.
        open_ended: Whether they are the settings of an object, of which what
            only one side has is not compared.
    """
    if isinstance(then, dict) and isinstance(now, dict):
        open_ended |= all(key.startswith(_CODES) for key in {**then, **now})
        if open_ended or then.keys() == now.keys():
            for key in then.keys() & now.keys():
                inner = path if key == "settings" else f"{path}.{key}"
                yield from _changed(
                    then[key],
                    now[key],
                    inner.removeprefix("."),
                    key == "settings",
                )
            return
    elif isinstance(then, list) and isinstance(now, list):
        if len(then) == len(now):
            for old, new in zip(then, now, strict=True):
                yield from _changed(old, new, path, False)
            return
    # NaN is equal to itself here, and 1 to 1.0.
    elif then == now or repr(then) == repr(now):
        return
    yield path, then, now


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
