"""A network by name: backbone, imported head, preprocessing."""

import dataclasses
import difflib
import inspect
import pathlib
from typing import Any

import keras

from packnet_tf.errors import NetworkError
from packnet_tf.networks import head as heads
from packnet_tf.networks import preprocessing
from packnet_tf.networks.small import cnn

_IMAGENET_CLASSES = 1000
_FIXED = frozenset(
    {
        "classes",
        "classifier_activation",
        "include_top",
        "input_shape",
        "input_tensor",
        "name",
        "pooling",
        "weights",
        "include_preprocessing",
    }
)


@dataclasses.dataclass
class Network:
    """A network, cut for PackNet.

    Attributes:
        backbone: From pixels 0 to 255, [batch, size, size, 3], to features
            of rank 2.
        head: The base task's head with its weights, or None.
        classes: Its classes; 0 without a head.
        class_names: Their names, or None.
        preprocessing: What the backbone does to pixels first; see
            `preprocessing.mode_of`.
        head_agreement: How well backbone and head answer as the network did;
            see `head.agreement`. None without a head.
    """

    backbone: keras.Model
    head: keras.layers.Dense | None
    classes: int
    class_names: tuple[str, ...] | None
    preprocessing: str
    head_agreement: dict[str, float] | None


def available() -> list[str]:
    """Returns the names that `build` knows, in lower case."""
    return sorted(["cnn", *_constructors()])


def parse_options(text: str) -> dict[str, Any]:
    """Returns options as a dictionary: `"alpha=0.75,x=abc"`.

    Numbers become numbers, `true` and `false` become booleans.

    Raises:
        NetworkError: If a part is not of the form NAME=VALUE.
    """
    options: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, value = (p.strip() for p in part.partition("="))
        if not (name and equals and value):
            raise NetworkError(
                f"--network_options: {part!r} is not of the form NAME=VALUE."
            )
        options[name] = _value(value)
    return options


def build(
    name: str,
    *,
    image_size: int,
    weights: str = "imagenet",
    options: dict[str, Any] | None = None,
    head_layer: str | None = None,
) -> Network:
    """Builds a network by name; in a strategy's scope, its variables too.

    Args:
        name: `"cnn"`, a constructor of `keras.applications` in any case, or
            the path of a `.keras` file, which brings its own weights and
            preprocessing.
        image_size: Height and width of the images, in pixels.
        weights: `"imagenet"` (downloaded by Keras), `"none"`, or the path of
            a weights file of the whole network.
        options: Options of the constructor, e.g. `{"alpha": 0.75}`.
        head_layer: The layer that is the head, `"none"`, or None to find it.

    Raises:
        NetworkError: If one of these cannot be used; the message says what
            to do.

    Example:

    >>> network = build("mobilenet", image_size=96, options={"alpha": 0.75})
    >>> network.backbone.output_shape
    (None, 768)
    """
    if image_size < 1:
        raise NetworkError(f"--image_size={image_size}: expected 1 or more.")
    options = dict(options or {})
    if name.endswith(".keras"):
        if options:
            raise NetworkError(
                f"--network_options: {name} is a file and takes none."
            )
        return _from_file(name, image_size, head_layer)
    if name.lower() == "cnn":
        return _small(image_size, weights, options)
    return _application(name, image_size, weights, options, head_layer)


def _small(image_size, weights, options) -> Network:
    _check_options("cnn", options, {"width"})
    if image_size < 8:
        raise NetworkError(
            f"--image_size={image_size}: cnn takes 8 pixels or more."
        )
    if weights != "none":
        raise NetworkError(
            f"--weights={weights}: there are none for cnn; use --weights=none."
        )
    backbone = cnn(image_size, **options)
    return Network(backbone, None, 0, None, "tf", None)


def _application(name, image_size, weights, options, head_layer) -> Network:
    constructors = _constructors()
    constructor = constructors.get(name.lower())
    if constructor is None:
        close = difflib.get_close_matches(name.lower(), available(), n=3)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise NetworkError(
            f"Unknown network {name!r}: {hint}Expected cnn, a network of "
            "keras.applications (such as mobilenet, vgg16, resnet50, "
            "densenet121), or the path of a .keras file."
        )
    parameters = inspect.signature(constructor).parameters
    _check_options(name, options, set(parameters) - _FIXED)
    mode = preprocessing.mode_of(constructor.__name__)
    if mode is None:
        raise NetworkError(
            f"The preprocessing of {constructor.__name__}'s weights is not "
            "known; save the network as a .keras file that takes pixels 0 to "
            "255, and give its path."
        )
    if weights not in ("imagenet", "none") and not pathlib.Path(
        weights
    ).is_file():
        raise NetworkError(
            f"--weights={weights}: no such file; expected imagenet, none, or "
            "the path of a weights file."
        )
    model = _construct(constructor, image_size, weights, options)
    if weights not in ("imagenet", "none"):
        _load_weights(model, weights)
    # Random weights are worth no base task.
    return _cut(
        model, mode, image_size, "none" if weights == "none" else head_layer,
        without_head=weights == "none",
    )


def _construct(constructor, image_size, weights, options) -> keras.Model:
    arguments = {
        "weights": "imagenet" if weights == "imagenet" else None,
        "include_top": True,
        "input_shape": (image_size, image_size, 3),
        **options,
    }
    try:
        return constructor(**arguments)
    except Exception as error:
        text = " ".join(str(error).split())
        if weights == "imagenet" and (
            "fetch" in text or "hash" in text or "URL" in text
        ):
            raise NetworkError(
                f"The weights of {constructor.__name__} could not be fetched "
                f"({text[:200]}); fetch that file by hand and give it with "
                "--weights=FILE."
            ) from error
        raise NetworkError(
            f"{constructor.__name__} cannot be built at image size "
            f"{image_size} with options {options}: {text[:300]}"
        ) from error


def _load_weights(model: keras.Model, path: str) -> None:
    try:
        model.load_weights(path)
    except Exception as error:
        text = " ".join(str(error).split())
        raise NetworkError(
            f"--weights={path} does not fit {model.name} at "
            f"{model.input_shape[1]} px; check --network_options and "
            f"--image_size: {text[:300]}"
        ) from error


def _cut(model, mode, image_size, head_layer, without_head) -> Network:
    """Puts preprocessing before the network, and takes its head off."""
    if without_head:
        # The features below the head, which is random.
        features, _ = heads.split(model, None)
        head = None
    else:
        features, head = heads.split(model, head_layer)
    body = keras.Model(model.inputs, features, name=f"{model.name}_body")
    images = keras.Input((image_size, image_size, 3), name="images")
    pixels = preprocessing.apply(mode, images)
    backbone = keras.Model(images, body(pixels), name=model.name)
    agreement = None
    if head is not None:
        agreement = heads.agreement(
            model, backbone, head, keras.Model(images, pixels)
        )
    classes = 0 if head is None else head.units
    return Network(backbone, head, classes, None, mode, agreement)


def _from_file(path: str, image_size: int, head_layer) -> Network:
    if not pathlib.Path(path).is_file():
        raise NetworkError(
            f"--network={path}: no such file; give the path of a .keras file."
        )
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        text = " ".join(str(error).split())
        raise NetworkError(
            f"--network={path} cannot be loaded: {text[:300]}"
        ) from error
    if not isinstance(model, keras.Model) or not hasattr(model, "inputs"):
        raise NetworkError(
            f"--network={path} is no functional or Sequential model; build "
            "subclassed models from masked layers, in Python."
        )
    shape = tuple(model.input_shape)
    if len(shape) != 4 or shape[-1] != 3:
        raise NetworkError(
            f"--network={path} takes inputs of shape {shape}; expected images "
            "[batch, height, width, 3]."
        )
    if any(side not in (None, image_size) for side in shape[1:3]):
        raise NetworkError(
            f"--image_size={image_size}, but {path} takes images of "
            f"{shape[1]} x {shape[2]} pixels; give that size."
        )
    return _cut(model, "inside", image_size, head_layer, without_head=False)


def _constructors() -> dict[str, Any]:
    return {
        name.lower(): value
        for name, value in vars(keras.applications).items()
        if inspect.isfunction(value)
    }


def _check_options(name, options, legal) -> None:
    for option in options:
        if option not in legal:
            raise NetworkError(
                f"--network_options: {name} has no option {option!r}; it has "
                f"{', '.join(sorted(legal)) or 'none'}."
            )


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
