"""Loads pretrained weights, from a file or from Keras Applications."""

import contextlib
import importlib.util
import pathlib
import re
import socket
import traceback
import warnings
from collections.abc import Callable, Iterator

import keras

from packnet_tf.convert.clone import copy_state
from packnet_tf.errors import NetworkError, first_line
from packnet_tf.untrusted.archives import check_weights_file

IMAGENET_CLASSES = 1000
# Seconds, so that a network that drops packets does not block for minutes.
_TIMEOUT = 15.0
# Keras's message about the first layer that does not fit.
_MISMATCH = re.compile(
    r"name=([^,>]+).*?variable\.shape=(\([^)]*\)).*?value\.shape=(\([^)]*\))"
)


def check_weights(weights: str) -> None:
    """Refuses anything but `imagenet`, `none` or a file.

    Args:
        weights: The value of `--weights`.

    Raises:
        NetworkError: If it is none of these.
    """
    if weights in ("imagenet", "none"):
        return
    if not pathlib.Path(weights).is_file():
        raise NetworkError(
            f"--weights={weights}: no such file; expected imagenet, none, or "
            "the path of a weights file."
        )


def load_file(model: keras.Model, path: str) -> None:
    """Loads a weights file of a whole network, including its head.

    Args:
        model: The network; its weights are replaced.
        path: A `.weights.h5` file, or a published `.h5` file.

    Raises:
        NetworkError: If it is not a weights file, or of another network.
    """
    with warnings.catch_warnings(record=True) as warned:
        # Not shown, since a file of another network causes hundreds.
        warnings.simplefilter("always")
        try:
            check_weights_file(pathlib.Path(path))
            model.load_weights(path)
        except Exception as error:
            # On damaged files Keras raises all kinds of errors.
            raise NetworkError(
                f"--weights={path} does not fit {model.name}: "
                f"{_reason(error)} {_remedy(model)}"
            ) from error
    missing = [w for w in warned if "freshly-initialized" in str(w.message)]
    if missing:
        raise NetworkError(
            f"--weights={path} does not fit {model.name}: some layers have no "
            f"weights in it. {_remedy(model)}"
        )


def load_published(
    model: keras.Model, construct: Callable[..., keras.Model]
) -> None:
    """Loads the weights that Keras Applications publishes.

    They are for one image size, and also used for others if no shape depends
    on the size.

    Args:
        model: The network; its weights are replaced.
        construct: Makes the network from `weights` and an optional
            `input_shape`.

    Raises:
        NetworkError: If they do not fit, or cannot be downloaded; then it
            names the file to download by hand.
    """
    with _fetching():
        try:
            source = construct(
                weights="imagenet", input_shape=tuple(model.input_shape[1:])
            )
        except ValueError as error:
            if "`input_shape` should be" not in str(error):
                raise
            # Refused before half a gigabyte is downloaded.
            check_shapes(construct(weights=None), model)
            source = construct(weights="imagenet")
    # One constructor made both, so their layers have the same order; one may
    # lack layers without weights.
    pairs = zip(_with_weights(source), _with_weights(model), strict=True)
    for theirs, ours in pairs:
        copy_state(theirs, ours)


def check_shapes(published: keras.Model, model: keras.Model) -> None:
    """Refuses an image size for which published weights do not fit.

    Args:
        published: The network at the size of its published weights.
        model: The same network at the requested size.

    Raises:
        NetworkError: Naming the first layer whose weights depend on the size.
    """
    pairs = zip(_with_weights(published), _with_weights(model), strict=True)
    for theirs, ours in pairs:
        for a, b in zip(theirs.weights, ours.weights, strict=True):
            if a.shape != b.shape:
                raise NetworkError(
                    f"The published weights do not fit {model.name}: their "
                    f"layer {theirs.name!r} has an array of shape "
                    f"{tuple(a.shape)}, but {tuple(b.shape)} is needed at "
                    f"{model.input_shape[1]} pixels; use --image_size="
                    f"{published.input_shape[1]}, or --weights=FILE."
                )


def imagenet_names() -> tuple[str, ...] | None:
    """Returns the ids of ImageNet's classes in the order of the logits.

    They are WordNet ids such as `n01440764`, also the names of the classes'
    folders, from a list in TensorFlow Datasets. None without such a list.
    """
    # By its path, because importing the package takes a second.
    spec = importlib.util.find_spec("tensorflow_datasets")
    if spec is None or spec.origin is None:
        return None
    file = (
        pathlib.Path(spec.origin).parent
        / "datasets"
        / "imagenet2012"
        / "labels.txt"
    )
    try:
        names = tuple(file.read_text(encoding="utf-8").split())
    except OSError:
        return None
    return names if len(set(names)) == IMAGENET_CLASSES else None


def _with_weights(model: keras.Model) -> list[keras.layers.Layer]:
    return [layer for layer in model.layers if layer.weights]


def _reason(error: Exception) -> str:
    """Returns which layer does not fit, if Keras's message tells."""
    text = " ".join(str(error).split())
    found = _MISMATCH.search(text)
    if found is None:
        return first_line(error)
    layer, ours, theirs = found.groups()
    return (
        f"layer {layer!r} has an array of shape {theirs} in the file, but "
        f"{ours} in the network."
    )


def _remedy(model: keras.Model) -> str:
    """Returns what to do about weights that do not fit."""
    kinds = {type(layer) for layer in model.layers}
    pooled = {
        keras.layers.GlobalAveragePooling2D,
        keras.layers.GlobalMaxPooling2D,
    }
    if keras.layers.Flatten in kinds and not kinds & pooled:
        return (
            "Its dense layers see every pixel, so weights fit only one image "
            "size (published ones 224). Check --image_size, --network, "
            "--network_options and --weights."
        )
    return "Check --network, --network_options and --weights."


@contextlib.contextmanager
def _fetching() -> Iterator[None]:
    """Turns a failed download into an error that says what to do."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        yield
    except Exception as error:
        url = _url_of(error)
        if url is not None:
            raise NetworkError(
                f"The weights cannot be downloaded ({first_line(error)}); "
                f"download {url} on another machine, and give the file with "
                "--weights=FILE."
            ) from error
        if isinstance(error, OSError):
            # For some files Keras has no hash, and would use them again.
            raise NetworkError(
                "The weights file that Keras downloaded cannot be read "
                f"({first_line(error)}); delete it from the folder "
                "~/.keras/models (or $KERAS_HOME/models) and run the command "
                "again."
            ) from error
        raise
    finally:
        socket.setdefaulttimeout(before)


def _url_of(error: BaseException) -> str | None:
    """Returns the address from which Keras failed to download.

    Keras's message names it when the connection failed, but not when the
    downloaded file has the wrong hash.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "get_file":
            return frame.f_locals.get("origin")
    return None
