"""Builds a network by name: backbone, imported head, preprocessing."""

import dataclasses
import difflib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import keras

from packnet_tf.errors import NetworkError, first_line
from packnet_tf.masks.compact import MOST_TIMES
from packnet_tf.networks import applications, head, preprocessing
from packnet_tf.networks.options import check_options, defaults_of
from packnet_tf.networks.small import cnn, mlp
from packnet_tf.networks.vit import vit
from packnet_tf.networks.weights import (
    IMAGENET_CLASSES,
    imagenet_names,
)
from packnet_tf.tf_internals.files import names_from_one
from packnet_tf.tf_internals.layers import is_graph
from packnet_tf.untrusted.archives import check_model_archive
from packnet_tf.untrusted.variables import weights_budget

# Backbones of this package, which have no published weights.
_OWN: dict[str, Callable[..., keras.Model]] = {
    "cnn": cnn,
    "mlp": mlp,
    "vit": vit,
}


@dataclasses.dataclass
class Network:
    """A network, split for PackNet.

    Attributes:
        backbone: Functional model of stock layers from pixels 0 to 255,
            float32 [batch, size, size, 3], to features of rank 2.
        head: The base task's head with its weights: a linear Dense layer on
            the features. None if the network has none.
        classes: Number of its classes; 0 without a head.
        class_names: Their names, or None. ImageNet's are WordNet ids.
        preprocessing: What the backbone does to pixels first; see
            `preprocessing.mode_of`.
        head_agreement: How closely backbone and head reproduce the network's
            answers; see `head.agreement`. None without a head.
    """

    backbone: keras.Model
    head: keras.layers.Dense | None
    classes: int
    class_names: tuple[str, ...] | None
    preprocessing: str
    head_agreement: dict[str, float] | None


def available() -> list[str]:
    """Returns the names that `build` knows, in lower case."""
    return sorted([*_OWN, *applications.names()])


def check_name(name: str) -> None:
    """Refuses a name of neither a network nor a `.keras` file.

    Args:
        name: The value of `--network`.

    Raises:
        NetworkError: With names that are close.
    """
    if name.lower() not in available() and not name.endswith(".keras"):
        close = difflib.get_close_matches(name.lower(), available(), n=3)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise NetworkError(
            f"Unknown network {name!r}: {hint}Expected {', '.join(_OWN)}, a "
            "network of keras.applications (such as mobilenet, vgg16, "
            "resnet50, densenet121), vgg16_bn, or the path of a .keras file."
        )


def build(
    name: str,
    *,
    image_size: int,
    weights: str = "imagenet",
    options: Mapping[str, Any] | None = None,
    head_layer: str | None = None,
) -> Network:
    """Builds a network by name.

    Called in a strategy's scope, it makes its variables there. The same
    arguments give the same names of layers every time, and with
    `weights="none"` the same weights after the same
    `keras.utils.set_random_seed`.

    Args:
        name: One of `available()`, in any case, or the path of a `.keras`
            file, which brings its own weights and has its preprocessing
            inside.
        image_size: Height and width of the images, in pixels.
        weights: `"imagenet"` (downloaded by Keras), `"none"` (random, so no
            head), or the path of a weights file of the whole network.
        options: Options of the constructor, e.g. `{"alpha": 0.75}`; of the
            VGG networks also `dropout`, after each of their two dense
            layers.
        head_layer: Name of the head's layer, None to find it, or `"none"` for
            no head: then all of a `.keras` file is backbone, and of other
            networks everything below their own head.

    Raises:
        NetworkError: If an argument cannot be used.

    Example:

    >>> network = build("mobilenet", image_size=96, options={"alpha": 0.75})
    >>> network.backbone.output_shape, network.classes
    ((None, 768), 1000)
    """
    integer = isinstance(image_size, int) and not isinstance(image_size, bool)
    if not integer or image_size < 1:
        raise NetworkError(
            f"--image_size={image_size!r}: expected a whole number of pixels, "
            "1 or more."
        )
    options = dict(options or {})
    with names_from_one():
        if name.endswith(".keras"):
            check_options(name, options, {})
            return _from_file(name, image_size, head_layer)
        check_name(name)
        if name.lower() in _OWN:
            return _own(name.lower(), image_size, weights, options, head_layer)
        return _application(name, image_size, weights, options, head_layer)


def _own(name, image_size, weights, options, head_layer) -> Network:
    check_options(name, options, defaults_of(_OWN[name]))
    if head_layer not in (None, "none"):
        raise NetworkError(
            f"--head_layer={head_layer}: {name} has no head; leave the flag "
            "out."
        )
    if weights != "none":
        raise NetworkError(
            f"--weights={weights}: {name} has no published weights; use "
            "--weights=none, or give a .keras file with --network."
        )
    backbone = _OWN[name](image_size, **options)
    return Network(backbone, None, 0, None, "tf", None)


def _application(name, image_size, weights, options, head_layer) -> Network:
    model, mode = applications.application(name, image_size, weights, options)
    own = None if head_layer == "none" else head_layer
    features, imported = head.split(model, own)
    features = applications.add_dropout(name, model, features, options)
    if weights == "none" or head_layer == "none":
        imported = None  # A random head cannot be a base task.
    network = _assemble(model, features, imported, mode, image_size)
    if network.classes == IMAGENET_CLASSES:
        network.class_names = imagenet_names()
    return network


def _from_file(path: str, image_size: int, head_layer) -> Network:
    if not pathlib.Path(path).is_file():
        raise NetworkError(
            f"--network={path}: no such file; give the path of a .keras file."
        )
    try:
        file = pathlib.Path(path)
        check_model_archive(file)
        with weights_budget(file, MOST_TIMES):
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        # On damaged files Keras raises all kinds of errors.
        raise NetworkError(
            f"--network={path} cannot be loaded: {first_line(error)}"
        ) from error
    if not is_graph(model) or not model.built:
        raise NetworkError(
            f"--network={path} holds a {type(model).__name__}; expected a "
            "functional or Sequential model with its input shape. In Python, "
            "other models can be built from masked layers."
        )
    shapes = [tuple(tensor.shape) for tensor in model.inputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] != 3:
        raise NetworkError(
            f"--network={path} takes inputs of the shape(s) "
            f"{', '.join(map(str, shapes))}; expected one input of images, "
            "(None, height, width, 3)."
        )
    height, width = shapes[0][1:3]
    if not {height, width} <= {None, image_size}:
        raise NetworkError(
            f"--image_size={image_size}: {path} takes images of {height} x "
            f"{width} pixels; give that size."
        )
    features, imported = head.split(model, head_layer)
    try:
        return _assemble(model, features, imported, "inside", image_size)
    except NetworkError:
        raise
    except Exception as error:
        # Even a network of no fixed size may refuse some sizes.
        raise NetworkError(
            f"--network={path} does not take images of {image_size} x "
            f"{image_size} pixels: {first_line(error)}"
        ) from error


def _assemble(model, features, imported, mode, image_size) -> Network:
    """Puts preprocessing in front of a network without its head."""
    body = keras.Model(model.inputs, features, name=f"{model.name}_body")
    images = keras.Input((image_size, image_size, 3), name="images")
    pixels = preprocessing.apply(mode, images)
    backbone = keras.Model(images, body(pixels), name=model.name)
    if backbone.output_shape[-1] is None:
        raise NetworkError(
            f"The number of {model.name}'s features is unknown for images of "
            f"{image_size} x {image_size} pixels; end it with a pooling layer."
        )
    if imported is None:
        return Network(backbone, None, 0, None, mode, None)
    measured = head.agreement(
        model, backbone, imported, keras.Model(images, pixels)
    )
    return Network(backbone, imported, imported.units, None, mode, measured)
