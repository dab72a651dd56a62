"""Images in arrays: `.npz` files in Keras's layout, and NumPy pairs."""

import pathlib
import zipfile
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.sources.base import (
    DecodedSource,
    digest,
    names_of_parts,
)
from packnet_tf.errors import DataError, StateError, first_line
from packnet_tf.untrusted.archives import check_image_archive

# The largest label; the number of classes must fit int32 too.
MOST_LABEL = np.iinfo(np.int32).max - 1

# How many class names a message shows.
_NAMES = 5

_LAYOUT = "x_train, y_train, x_val, y_val, x_test, y_test"


class ArraySource(DecodedSource):
    """Images of one size in an array.

    Args:
        pixels: uint8 array of shape [examples, height, width] or
            [examples, height, width, channels] with 1 or 3 channels, values
            from 0 to 255. Greyscale becomes RGB.
        labels: Integer array of shape [examples].
        class_names: Names in the order of the labels.
        preprocessing: How the images become the network's.
        name: What messages call the array.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        labels: np.ndarray,
        class_names: Sequence[str],
        preprocessing: Preprocessing,
        name: str = "array",
    ):
        self._pixels = pixels if pixels.ndim == 4 else pixels[..., None]
        self.labels = np.asarray(labels, np.int32)
        self.class_names = tuple(class_names)
        self.preprocessing = preprocessing.unboxed()
        self.origin = name
        self._ids: np.ndarray | None = None

    @property
    def ids(self) -> np.ndarray:
        if self._ids is None:
            self._ids = np.array(
                [digest(image.tobytes()) for image in self._pixels], np.uint64
            )
        return self._ids

    def array(self, index: int) -> np.ndarray:
        image = self._pixels[index]
        return np.broadcast_to(image, (*image.shape[:2], 3))


def read_npz(
    path: str | pathlib.Path,
    preprocessing: Preprocessing | None = None,
) -> dict[str, ArraySource]:
    """Opens a `.npz` file in Keras's layout.

    Args:
        path: File with `x_train` and `y_train`, `x_test` and `y_test`, or
            both, and optionally `x_val`, `y_val` and `class_names`.
        preprocessing: How the images become the network's; by default,
            greyscale images, which are mostly digits or letters, are not
            mirrored.

    Returns:
        The sources by part, `"train"`, `"validation"` and `"test"`, where
        they exist.

    Raises:
        DataError: If the file is missing, damaged, or not of this layout.
    """
    path = pathlib.Path(path)
    try:
        if not path.expanduser().is_file():
            raise DataError(f"The data file {path} does not exist.")
        path = path.expanduser()
        if zipfile.is_zipfile(path):
            check_image_archive(path)
        stored = np.load(path, allow_pickle=False)
        if isinstance(stored, np.ndarray):
            raise ValueError("it is a single array, as np.save writes")
        with stored:
            members = {name: stored[name] for name in stored.files}
    except StateError as error:
        raise DataError(f"The data file {error}") from error
    except (
        OSError,
        ValueError,
        EOFError,
        RuntimeError,
        zipfile.BadZipFile,
    ) as error:
        raise DataError(
            f"The data file {path} cannot be read as .npz without pickled "
            f"objects ({first_line(error)}); write it with np.savez_compressed."
        ) from error
    arrays = {k: v for k, v in members.items() if isinstance(v, np.ndarray)}
    return from_arrays(arrays, str(path), preprocessing)


def from_arrays(
    arrays: Mapping[str, np.ndarray],
    name: str = "arrays",
    preprocessing: Preprocessing | None = None,
) -> dict[str, ArraySource]:
    """Makes sources from arrays in memory, named as in Keras's layout.

    Args:
        arrays: Arrays named as in `read_npz`.
        name: What messages call the data.
        preprocessing: See `read_npz`.

    Returns:
        The sources by part, `"train"`, `"validation"` and `"test"`, where
        they exist.

    Raises:
        DataError: If shapes, types, values or classes cannot be used.
    """
    halves = [key[2:] for key in arrays if key[:2] in ("x_", "y_")]
    parts = names_of_parts(halves, name)
    used = [f"{half}_{word}" for word in parts.values() for half in "xy"]
    if not parts.keys() & {"train", "test"} or set(used) - arrays.keys():
        have = ", ".join(sorted(arrays)) or "nothing"
        raise DataError(
            f"The data {name} holds {have}; expected arrays named {_LAYOUT}."
        )
    pixels = {w: _pixels(arrays[f"x_{w}"], w, name) for w in parts.values()}
    labels = {
        w: _labels(arrays[f"y_{w}"], len(pixels[w]), w, name) for w in pixels
    }
    names = class_names_of(arrays.get("class_names", ()), labels, name)
    if preprocessing is None:
        grey = all(x.ndim == 3 or x.shape[3] == 1 for x in pixels.values())
        preprocessing = Preprocessing(flip=not grey)
    sources = {
        part: ArraySource(
            pixels[word],
            labels[word],
            names,
            preprocessing,
            f"{name}: x_{word}",
        )
        for part, word in parts.items()
    }
    unused = sorted(arrays.keys() - {*used, "class_names"})
    if unused:
        first = next(iter(sources.values()))
        first.notes = (
            f"{len(unused)} array(s) of {name} are left out: "
            f"{', '.join(unused)}",
        )
    return sources


def _pixels(x: np.ndarray, part: str, name: str) -> np.ndarray:
    shape_ok = x.ndim == 3 or (x.ndim == 4 and x.shape[3] in (1, 3))
    if not shape_ok or not x.size:
        raise DataError(
            f"x_{part} of the data {name} has the shape {x.shape}; expected "
            "[examples, height, width] or [examples, height, width, 1 or 3]."
        )
    if x.dtype == np.uint8:
        return x
    if x.dtype.kind in "iuf" and 0 <= x.min() and x.max() <= 255:
        if x.dtype.kind != "f":
            return x.astype(np.uint8)
        if x.max() > 1:
            return np.rint(x).astype(np.uint8)
    raise DataError(
        f"x_{part} of the data {name} is {x.dtype}{extent_of(x)}; expected "
        "pixels from 0 to 255, as uint8 or unscaled floats."
    )


def extent_of(x: np.ndarray) -> str:
    """Returns the range of pixels in words; empty if they are no numbers."""
    if x.dtype.kind not in "iuf":
        return ""
    return f" from {x.min():g} to {x.max():g}"


def _labels(y: np.ndarray, count: int, part: str, name: str) -> np.ndarray:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise DataError(
            f"y_{part} of the data {name} is {y.dtype} of shape {y.shape}; "
            "expected integer labels of shape [examples]."
        )
    if len(y) != count:
        raise DataError(
            f"x_{part} of the data {name} holds {count} images, but y_{part} "
            f"holds {len(y)} labels; expected one for each image."
        )
    for extreme in (y.min(), y.max()):
        if not 0 <= extreme <= MOST_LABEL:
            raise DataError(
                f"y_{part} of the data {name} has the label {extreme}; "
                "expected 0 to the number of classes minus 1."
            )
    return y.astype(np.int32)


def class_names_of(
    given: Iterable[str], labels: Mapping[str, np.ndarray], name: str
) -> list[str]:
    """Returns the names of all classes, after checking the labels.

    Args:
        given: Names in the order of the labels; empty for numbers.
        labels: Labels by part; the first part must have every class.
        name: What messages call the data.

    Raises:
        DataError: If there is only one class, a label is out of range, or a
            class has no images.
    """
    first = next(iter(labels))
    names = _as_text(given, name)
    if "" in names or len(set(names)) < len(names):
        raise DataError(
            f"The class names of the data {name} are {_shown(names)}; expected "
            "a different name for each class."
        )
    classes = len(names) or int(labels[first].max()) + 1
    if classes < 2:
        raise DataError(
            f"The data {name} has only one class; a task needs two or more."
        )
    for part, y in labels.items():
        if y.max() >= classes:
            raise DataError(
                f"y_{part} of the data {name} has the label {y.max()}, but "
                f"there are {classes} classes: expected 0 to {classes - 1}."
            )
        # A test part may lack a class; training would never learn it.
        found = np.unique(y)
        if len(found) < classes and part == first:
            gaps = np.flatnonzero(found != np.arange(len(found)))
            empty = int(gaps[0]) if len(gaps) else len(found)
            raise DataError(
                f"Class {names[empty] if names else empty} of the data "
                f"{name} has no images in x_{part}; number the classes 0, 1, "
                "2, ... without gaps."
            )
    return names or [str(i) for i in range(classes)]


def _as_text(given: Iterable[str], name: str) -> list[str]:
    listed = np.asarray(given).tolist()
    try:
        if not isinstance(listed, list) or any(
            not isinstance(n, str | bytes | int) for n in listed
        ):
            raise TypeError
        return [n.decode() if isinstance(n, bytes) else str(n) for n in listed]
    except (TypeError, UnicodeDecodeError) as error:
        raise DataError(
            f"The class names of the data {name} are {_shown([str(given)])}; "
            "expected a list of strings, one for each class."
        ) from error


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_NAMES]))
    return shown + ", ..." if len(names) > _NAMES else shown
