"""Images from a Python program: arrays, and iterables of them.

A pair of NumPy arrays stays as it is. Iterables (`tf.data.Dataset`,
`keras.utils.PyDataset`) are read once, into an unnamed temporary file: order
and augmentation need random access, and the images need not fit in memory.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.sources import arrays
from packnet_tf.data.sources.base import PARTS, DecodedSource, Source, digest
from packnet_tf.errors import DataError

_KINDS = (
    "a pair (images, labels) of NumPy arrays, a tf.data.Dataset of (image, "
    "label), a keras.utils.PyDataset, or a dictionary of these by part, "
    "'train', 'validation' and 'test'"
)


class RawSource(DecodedSource):
    """Images of any size, kept as bytes in a temporary file.

    Args:
        pairs: Pairs of an image, uint8 of shape [height, width, 1 or 3], and
            its label. Greyscale becomes RGB.
        name: What messages call the data.
    """

    def __init__(
        self,
        pairs: Iterator[tuple[np.ndarray, int]],
        name: str,
    ):
        self._file = tempfile.TemporaryFile()
        starts, shapes, labels, ids = [0], [], [], []
        for image, label in pairs:
            content = image.tobytes()
            self._file.write(content)
            starts.append(starts[-1] + len(content))
            shapes.append(image.shape)
            labels.append(label)
            ids.append(digest(content))
        self._file.flush()
        self._starts, self._shapes = starts, shapes
        self._ids = np.array(ids, np.uint64)
        self.labels = np.array(labels, np.int32)
        self.class_names = ()
        self.preprocessing = Preprocessing()
        self.origin = name

    @property
    def grey(self) -> bool:
        """Whether all images have one channel."""
        return all(shape[2] == 1 for shape in self._shapes)

    @property
    def ids(self) -> np.ndarray:
        return self._ids

    def array(self, index: int) -> np.ndarray:
        start, end = self._starts[index : index + 2]
        content = os.pread(self._file.fileno(), end - start, start)
        image = np.frombuffer(content, np.uint8).reshape(self._shapes[index])
        return np.broadcast_to(image, (*image.shape[:2], 3))


def read_python(
    data: Any,
    name: str,
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] | None = None,
) -> dict[str, Source]:
    """Makes sources from a Python program's data.

    Args:
        data: A pair (images, labels) of NumPy arrays, a `tf.data.Dataset` of
            (image, label), batched or not, or a `keras.utils.PyDataset` of
            such batches, all for training; or a dictionary of these with the
            keys `"train"`, `"validation"` and `"test"`. Images have 1 or 3
            channels and values from 0 to 255 (floats are rounded); labels are
            integers from 0.
        name: What messages call the data.
        preprocessing: How the images become the network's.
        class_names: Names in the order of the labels; by default those that
            Keras gives a data set of an image folder, or numbers.

    Returns:
        The sources by part, `"train"`, `"validation"` and `"test"`, where
        they exist.

    Raises:
        DataError: If the data is of another kind, or its images, labels or
            classes cannot be used.

    Example:

    >>> train = keras.utils.image_dataset_from_directory("flowers/train")
    >>> parts = read_python({"train": train}, "flowers")
    """
    parts = data if isinstance(data, Mapping) else {"train": data}
    if not set(parts) & {"train", "test"} or set(parts) - set(PARTS):
        raise DataError(
            f"The data of task {name!r} has the keys "
            f"{', '.join(map(str, parts))}; expected 'train', 'test' or both, "
            "and optionally 'validation'."
        )
    if all(isinstance(value, tuple | list) for value in parts.values()):
        return _from_pairs(parts, name, preprocessing, class_names)
    sources = {
        part: RawSource(_pairs(value, f"{name}: {part}"), f"{name}: {part}")
        for part, value in parts.items()
    }
    for source in sources.values():
        if not len(source):
            raise DataError(f"The data {source.origin} has no images.")
    if class_names is None:
        class_names = _own_names(parts, name)
    names = arrays.class_names_of(
        () if class_names is None else class_names,
        {p: s.labels for p, s in sources.items()},
        name,
    )
    if preprocessing is None:
        grey = all(source.grey for source in sources.values())
        preprocessing = Preprocessing(flip=not grey)
    for source in sources.values():
        source.class_names = tuple(names)
        source.preprocessing = preprocessing.unboxed()
    return dict(sources)


def _own_names(parts: Mapping[str, Any], name: str) -> Sequence[str] | None:
    """Returns the class names that Keras attaches to data sets of folders."""
    found = {
        part: list(value.class_names)
        for part, value in parts.items()
        if hasattr(value, "class_names")
    }
    known = list(found.values())
    if known and any(names != known[0] for names in known):
        raise DataError(
            f"The parts of the data {name!r} have different class names: "
            f"{'; '.join(f'{p} {names[:3]}' for p, names in found.items())}."
        )
    return known[0] if known else None


def _from_pairs(parts, name, preprocessing, class_names):
    found: dict[str, Any] = {}
    for part, pair in parts.items():
        found[f"x_{part}"], found[f"y_{part}"] = _as_arrays(pair, name)
    if class_names is not None:
        found["class_names"] = class_names
    return arrays.from_arrays(found, name, preprocessing)


def _pairs(data: Any, name: str) -> Iterator[tuple[np.ndarray, int]]:
    """Checks images and labels, and yields them one by one."""
    dim = True  # Whether all pixels so far are at most 1.
    seen = False
    number = 0
    for element in _elements(data, name):
        if not isinstance(element, tuple | list) or len(element) != 2:
            raise DataError(
                f"The data {name} yields {type(element).__name__} elements; "
                "expected pairs (image, label)."
            )
        x, y = (np.asarray(part) for part in element)
        if x.ndim == 3:
            x, y = x[None], y[None]
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if x.ndim != 4 or x.shape[3] not in (1, 3):
            raise DataError(
                f"Images of the data {name} have the shape {x.shape}; "
                "expected [height, width, 1 or 3], or batches of that."
            )
        if y.shape != x.shape[:1] or y.dtype.kind not in "iu":
            raise DataError(
                f"Labels of the data {name} are {y.dtype} of shape {y.shape} "
                f"for {len(x)} image(s); expected one integer per image."
            )
        if not x.size:
            continue
        if x.dtype.kind not in "iuf" or not 0 <= x.min() <= x.max() <= 255:
            raise DataError(
                f"The data {name} has pixels, from image {number} on, of "
                f"{x.dtype}{arrays.extent_of(x)}; expected pixels from 0 to "
                "255."
            )
        seen |= x.dtype.kind == "f"
        dim &= x.max() <= 1
        pixels = np.rint(x).astype(np.uint8)
        for image, label in zip(pixels, y.tolist(), strict=True):
            if not 0 <= label <= arrays.MOST_LABEL:
                raise DataError(
                    f"Image {number} of the data {name} has the label "
                    f"{label}; expected 0 to the number of classes minus 1."
                )
            yield image, label
            number += 1
    if seen and dim:
        raise DataError(
            f"The pixels of the data {name} are floats from 0 to 1; expected "
            "0 to 255: do not scale them, since the network does."
        )


def _elements(data: Any, name: str) -> Iterator[Any]:
    if isinstance(data, tf.data.Dataset):
        if int(data.cardinality()) == tf.data.INFINITE_CARDINALITY:
            raise DataError(f"The data {name} never ends; leave out repeat().")
        return iter(data.as_numpy_iterator())
    if isinstance(data, keras.utils.PyDataset):
        batches = data.num_batches
        if batches is None:
            raise DataError(
                f"The data {name} never ends; give its PyDataset a length."
            )
        return (data[i] for i in range(batches))
    if isinstance(data, tuple | list):
        x, y = _as_arrays(data, name)
        return iter([(x[..., None] if x.ndim == 3 else x, y)])
    raise _wrong(name, data)


def _as_arrays(pair: Sequence[Any], name: str) -> tuple[Any, Any]:
    """Returns the images and labels of a pair as arrays."""
    if len(pair) != 2:
        raise _wrong(name, pair)
    try:
        return np.asarray(pair[0]), np.asarray(pair[1])
    except ValueError as error:
        raise DataError(
            f"The images or labels of {name!r} differ in shape; expected "
            f"{_KINDS}."
        ) from error


def _wrong(name: str, data: Any) -> DataError:
    return DataError(
        f"The data of {name!r} is of type {type(data).__name__}; expected "
        f"{_KINDS}."
    )
