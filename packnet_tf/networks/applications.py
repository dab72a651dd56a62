"""The networks of `keras.applications`, and `vgg16_bn`."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from packnet_tf.errors import NetworkError, first_line
from packnet_tf.networks.options import check_options, check_shares, defaults_of
from packnet_tf.networks.preprocessing import mode_of
from packnet_tf.networks.vgg import vgg16_bn
from packnet_tf.networks.weights import (
    check_weights,
    load_file,
    load_published,
)

# Arguments that are not options: build() sets them, or they would make a
# different network.
_FIXED = frozenset(
    {
        "classifier_activation",
        "include_preprocessing",
        "include_top",
        "input_shape",
        "input_tensor",
        "name",
        "pooling",
        "weights",
    }
)
# The paper's fc6 and fc7, as Keras names them in its VGG networks.
_VGG_DENSE = ("fc1", "fc2")
_VGG_DROPOUT = 0.5


def names() -> list[str]:
    """Returns the constructors' names, in lower case."""
    return list(_constructors())


def application(
    name: str, image_size: int, source: str, options: dict[str, Any]
) -> tuple[keras.Model, str]:
    """Makes a whole network, including its head.

    Args:
        name: Name of the constructor, one of `names()`, in any case.
        image_size: Height and width, in pixels.
        source: `"imagenet"`, `"none"`, or the path of a weights file.
        options: Options of the constructor.

    Returns:
        The network, and the preprocessing (`preprocessing.mode_of`) that it
        expects.

    Raises:
        NetworkError: If an argument cannot be used.
    """
    constructor = _constructors()[name.lower()]
    check_options(name, options, _defaults(constructor))
    mode = mode_of(constructor.__name__)
    check_weights(source)
    if _is_vgg(name):
        check_shares(name, dropout=options.get("dropout", _VGG_DROPOUT))
        options = {k: v for k, v in options.items() if k != "dropout"}
    construct = functools.partial(constructor, **options)
    with _refusing(constructor.__name__, image_size):
        model = construct(weights=None, input_shape=(image_size, image_size, 3))
        if source == "imagenet":
            load_published(model, construct)
    if source not in ("imagenet", "none"):
        load_file(model, source)
    if mode == "efficientnet" and not _normalizes(model):
        mode = "inside"
    return model, mode


def add_dropout(
    name: str,
    model: keras.Model,
    features: keras.KerasTensor,
    options: dict[str, Any],
) -> keras.KerasTensor:
    """Returns features with the dropout of the paper's VGG networks.

    Keras leaves it out: dropout after each of the two dense layers, with rate
    0.5 (option `dropout`). Other networks stay as they are.

    Args:
        name: Name of the network.
        model: The network.
        features: A tensor of `model`, where its head begins.
        options: The user's options.
    """
    if not _is_vgg(name):
        return features
    rate = options.get("dropout", _VGG_DROPOUT)
    layers = [model.get_layer(layer) for layer in _VGG_DENSE]
    ends = [layer.output for layer in layers]
    count = next((i + 1 for i, x in enumerate(ends) if x is features), 0)
    if not rate or not count:
        return features
    features = layers[0].input
    for layer in layers[:count]:
        features = keras.layers.Dropout(rate, name=f"{layer.name}_dropout")(
            layer(features)
        )
    return features


def _constructors() -> dict[str, Callable[..., keras.Model]]:
    constructors = {
        name.lower(): value
        for name, value in vars(keras.applications).items()
        if inspect.isfunction(value)
    }
    return {**constructors, "vgg16_bn": vgg16_bn}


def _defaults(constructor) -> dict[str, Any]:
    """Returns a network's options with their defaults."""
    defaults = {
        name: value
        for name, value in defaults_of(constructor).items()
        if name not in _FIXED
    }
    if _is_vgg(constructor.__name__):
        defaults["dropout"] = _VGG_DROPOUT
    return defaults


@contextlib.contextmanager
def _refusing(constructor: str, image_size: int) -> Iterator[None]:
    """Turns a constructor's exception into an error of one line."""
    try:
        yield
    except NetworkError:
        raise
    except Exception as error:
        # Constructors raise all kinds of errors.
        raise NetworkError(
            f"{constructor} cannot be built for images of {image_size} x "
            f"{image_size} pixels: {first_line(error)}; check --image_size "
            "and --network_options."
        ) from error


def _is_vgg(name: str) -> bool:
    return name.lower().startswith("vgg")


def _normalizes(model: keras.Model) -> bool:
    """Whether a network's normalization layer has statistics to use."""
    return any(
        np.any(np.asarray(layer.mean))
        for layer in model.layers
        if isinstance(layer, keras.layers.Normalization)
    )
