"""The interface of all sources of images, and subsets of a source.

A source is a list of labelled images with random access. It returns full
images as a `tf.data.Dataset` in any order; the pipeline resizes, augments and
batches them.
"""

import abc
import hashlib
import os
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.errors import DataError

# Called with the number of examples done and the total.
Progress = Callable[[int, int], None]

# Called with an image as soon as it is decoded.
Then = Callable[[tf.Tensor], Any]

# The parts of a task's data, and the names of their folders and arrays.
PARTS = {
    "train": ("train",),
    "validation": ("val", "valid", "validation"),
    "test": ("test",),
}

CORES = os.cpu_count() or 1

# Images decoded in parallel: more than there are cores, because they are
# delivered in order, and while a large one is decoded the other cores work
# ahead. tf.data.AUTOTUNE starts with one, needs longer than an epoch of a small
# set to use more cores, and never exceeds their number.
PARALLEL = 2 * max(2, CORES)


def names_of_parts(have: Collection[str], where: str) -> dict[str, str]:
    """Returns the names under which the parts exist, in their order.

    Args:
        have: All names in the data.
        where: What messages call the data.

    Raises:
        DataError: If a part exists under two names.
    """
    found = {}
    for part, names in PARTS.items():
        its = [name for name in names if name in have]
        if len(its) > 1:
            raise DataError(
                f"The data {where} has {' and '.join(its)}, which all mean "
                f"{part}; keep one of them."
            )
        if its:
            found[part] = its[0]
    return found


def digest(content: bytes) -> int:
    """Returns the identity of an example: 64 bits of a digest of its bytes."""
    found = hashlib.blake2b(content, digest_size=8).digest()
    return int.from_bytes(found, "little")


class Source(abc.ABC):
    """A list of labelled images.

    Attributes:
        labels: int32 array of shape [examples].
        class_names: Names in the order of the labels.
        preprocessing: How its images become the network's.
        origin: Where they come from, in one line.
        notes: Lines for the user about how they were read.
    """

    labels: np.ndarray
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    origin: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    @abc.abstractmethod
    def ids(self) -> np.ndarray:
        """Identities of the examples, uint64 of shape [examples].

        Each is a digest of the example's own bytes, so that split, order and
        augmentation do not depend on file names, their order, or the kind of
        source.
        """

    def ids_at(self, places: np.ndarray) -> np.ndarray:
        """Returns the identities of some examples, whatever the others are.

        Args:
            places: Integer array of shape [any].
        """
        return self.ids[places]

    @abc.abstractmethod
    def describe(self, index: int) -> str:
        """Returns an example's name in messages, e.g. its path."""

    @abc.abstractmethod
    def decoded(
        self, indices: np.ndarray, then: Then | None = None
    ) -> tf.data.Dataset:
        """Returns full images in a given order.

        Args:
            indices: Integer array of shape [any], places in this source.
            then: Called with each image in the same thread; its result
                replaces the image.

        Returns:
            uint8 tensors of shape [height, width, 3], or the results of
            `then`, in the order of `indices`, read in parallel.
        """

    def base(self) -> tuple["Source", np.ndarray]:
        """Returns the source that this one is taken from, and its places."""
        return self, np.arange(len(self))

    def subset(self, indices: np.ndarray) -> "Source":
        """Returns the examples at some places as a source.

        Args:
            indices: Integer array of shape [any].
        """
        return Subset(self, indices)


class DecodedSource(Source):
    """Images kept as pixels, which a subclass returns by number."""

    @abc.abstractmethod
    def array(self, index: int) -> np.ndarray:
        """Returns one image, uint8 of shape [height, width, 3]."""

    def describe(self, index: int) -> str:
        return f"{self.origin}[{index}]"

    def decoded(self, indices, then=None):
        def pick(index):
            image = tf.numpy_function(self.array, [index], tf.uint8)
            image = tf.ensure_shape(image, [None, None, 3])
            return image if then is None else then(image)

        dataset = tf.data.Dataset.from_tensor_slices(
            np.asarray(indices, np.int64)
        )
        return dataset.map(pick, num_parallel_calls=PARALLEL)


class Subset(Source):
    """Some examples of another source.

    Args:
        whole: The other source.
        indices: Integer array of shape [any], places in it.
    """

    def __init__(self, whole: Source, indices: np.ndarray):
        self._whole = whole
        self._indices = np.asarray(indices, np.int64)
        self.labels = whole.labels[self._indices]
        self.class_names = whole.class_names
        self.preprocessing = whole.preprocessing
        self.origin = whole.origin
        self.notes = whole.notes

    @property
    def ids(self) -> np.ndarray:
        whole, places = self.base()
        return whole.ids_at(places)

    def base(self):
        whole, places = self._whole.base()
        return whole, places[self._indices]

    def describe(self, index: int) -> str:
        return self._whole.describe(int(self._indices[index]))

    def decoded(self, indices, then=None):
        return self._whole.decoded(self._indices[np.asarray(indices)], then)


class ClassSubset(Subset):
    """The images of some classes, renumbered from 0.

    Args:
        whole: The other source.
        labels: The labels there, in their new order.
    """

    def __init__(self, whole: Source, labels: Sequence[int]):
        super().__init__(whole, np.flatnonzero(np.isin(whole.labels, labels)))
        numbers = np.full(len(whole.class_names), -1, np.int32)
        numbers[list(labels)] = np.arange(len(labels))
        self.labels = numbers[self.labels]
        self.class_names = tuple(whole.class_names[i] for i in labels)


def select_classes(source: Source, labels: Sequence[int], task: str) -> Source:
    """Returns the images of some classes.

    Args:
        source: Images of the whole data set, or of only these classes.
        labels: The labels in the whole data set, in their new order.
        task: The task's name, for messages.

    Raises:
        DataError: If the source is neither.
    """
    classes = len(source.class_names)
    if classes == len(labels):
        return source
    if classes <= max(labels):
        raise DataError(
            f"The data {source.origin} has {classes} classes; expected the "
            f"{len(labels)} of task {task!r}, or the whole data set."
        )
    return ClassSubset(source, labels)
