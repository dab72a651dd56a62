"""Where examples come from: the interface of all sources, and parts of one.

A source is a list of labelled images with random access. It gives full
images as a `tf.data.Dataset` in any order asked for; resizing, augmentation
and batches are the pipeline's.
"""

import abc
import hashlib
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any

import numpy as np
import tensorflow as tf

from packnet_tf.data import images
from packnet_tf.errors import DataError

# Called with the number of examples done and the number of all.
Progress = Callable[[int, int], None]

# What becomes of an image as soon as it is decoded.
Then = Callable[[tf.Tensor], Any]

_SCAN_CHUNK = 256


def digest(content: bytes) -> int:
    """Returns the identity of an example: 64 bits of its bytes' digest."""
    found = hashlib.blake2b(content, digest_size=8).digest()
    return int.from_bytes(found, "little")


class Source(abc.ABC):
    """A list of labelled images.

    Attributes:
        labels: int32 array of shape [examples].
        class_names: Names in the order of the labels.
        preprocessing: How its images become the network's.
        origin: Where they come from, in one line.
    """

    labels: np.ndarray
    class_names: tuple[str, ...]
    preprocessing: images.Preprocessing
    origin: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    @abc.abstractmethod
    def ids(self) -> np.ndarray:
        """Identities of the examples, uint64 of shape [examples].

        Each is a digest of the example's own bytes, so that what follows
        from it (split, order, augmentation) does not depend on file names,
        their order, or the kind of source.
        """

    @abc.abstractmethod
    def describe(self, index: int) -> str:
        """Returns what messages call an example, e.g. its path."""

    @abc.abstractmethod
    def decoded(
        self, indices: np.ndarray, then: Then | None = None
    ) -> tf.data.Dataset:
        """Returns full images in a given order.

        Args:
            indices: Integer array of shape [any], places in this source.
            then: Function of an image that is called at once, in the same
                thread, to return something else than the image.

        Returns:
            uint8 tensors of shape [height, width, 3], or what `then` made of
            them, in the order of `indices`, read in parallel.
        """

    def scan(self, progress: Progress | None = None) -> None:
        """Reads all examples once, as far as identity and kind need it.

        Args:
            progress: Called now and then with examples done and all.

        Raises:
            DataError: Naming the example that is no image.
        """
        del progress
        _ = self.ids

    def subset(self, indices: np.ndarray) -> "Source":
        """Returns the examples at some places as a source of their own.

        Args:
            indices: Integer array of shape [any].
        """
        return Subset(self, indices)


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

    @property
    def ids(self) -> np.ndarray:
        return self._whole.ids[self._indices]

    def describe(self, index: int) -> str:
        return self._whole.describe(int(self._indices[index]))

    def decoded(self, indices, then=None):
        return self._whole.decoded(self._indices[np.asarray(indices)], then)

    def scan(self, progress: Progress | None = None) -> None:
        self._whole.scan(progress)


class EncodedSource(Source):
    """A source of image files: what a folder and a record file share.

    Args:
        labels: Integer array of shape [examples].
        class_names: Names in the order of the labels.
        preprocessing: How its images become the network's.
        boxes: Bounding boxes, float array of shape [examples, 4] with top,
            left, bottom and right as shares of height and width; or None.
    """

    def __init__(
        self,
        labels: Sequence[int] | np.ndarray,
        class_names: Sequence[str],
        preprocessing: images.Preprocessing,
        boxes: np.ndarray | None = None,
    ):
        self.labels = np.asarray(labels, np.int32)
        self.class_names = tuple(class_names)
        self.preprocessing = (
            preprocessing if boxes is not None else preprocessing.unboxed()
        )
        self.boxes = boxes
        self._scanned: tuple[np.ndarray, np.ndarray] | None = None

    @abc.abstractmethod
    def encoded(self, index: int) -> bytes:
        """Returns the bytes of an image file as they are stored."""

    @property
    def ids(self) -> np.ndarray:
        return self._scan()[0]

    def scan(self, progress: Progress | None = None) -> None:
        self._scan(progress)

    def _scan(
        self, progress: Progress | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the identities, and which files need conversion."""
        if self._scanned is not None:
            return self._scanned
        ids = np.zeros(len(self), np.uint64)
        odd = np.zeros(len(self), bool)

        # Threads help: reading and the digest do not hold Python's lock.
        with futures.ThreadPoolExecutor(4) as pool:
            for start in range(0, len(self), _SCAN_CHUNK):
                places = range(start, min(start + _SCAN_CHUNK, len(self)))
                for i, found in zip(
                    places, pool.map(self._scan_one, places), strict=True
                ):
                    ids[i], odd[i] = found
                if progress is not None:
                    progress(places.stop, len(self))
        self._scanned = ids, odd
        return self._scanned

    def _scan_one(self, index: int) -> tuple[int, bool]:
        try:
            content = self.encoded(index)
            return digest(content), images.needs_conversion(content)
        except (OSError, DataError) as error:
            raise self.error(index, error) from error

    def error(self, index: int, cause: Exception) -> DataError:
        """Returns the error of an example, with its name and a remedy."""
        text = cause.strerror if isinstance(cause, OSError) else str(cause)
        return DataError(
            f"{self.describe(index)}: {text} Replace or remove it.".replace(
                "\n", " "
            )
        )

    def decoded(self, indices, then=None):
        indices = np.asarray(indices, np.int64)
        odd = self._scan()[1]
        dataset = tf.data.Dataset.from_tensor_slices(indices)
        read = self.read_op()
        if odd[indices].any():
            read = self._converting(read, tf.constant(odd))
        boxes = self.boxes if self.preprocessing.box else None
        if boxes is not None:
            boxes = tf.constant(boxes, tf.float32)

        def load(index):
            image = images.decode(read(index))
            if boxes is not None:
                image = cut_box(image, boxes[index])
            return image if then is None else then(image)

        return dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE)

    def read_op(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns a function from an int64 index to the encoded image."""

        def read(index):
            content = tf.numpy_function(
                lambda i: self.encoded(int(i)), [index], tf.string
            )
            return tf.ensure_shape(content, [])

        return read

    def _converting(self, read, odd):
        """Returns `read`, but with files that TensorFlow cannot read as PNG.

        Args:
            read: What `read_op` returned.
            odd: bool tensor of shape [examples]: which files those are.
        """

        def convert(index):
            return images.as_readable(self.encoded(int(index)))

        def read_converted(index):
            content = tf.cond(
                odd[index],
                lambda: tf.numpy_function(convert, [index], tf.string),
                lambda: read(index),
            )
            return tf.ensure_shape(content, [])

        return read_converted


def cut_box(image: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
    """Cuts an image to its bounding box, as the paper does CUBS and Cars.

    Args:
        image: uint8 tensor of shape [height, width, 3].
        box: float32 tensor of shape [4]: top, left, bottom and right as
            shares of height and width.

    Returns:
        uint8 tensor of shape [box height, box width, 3], at least 1 x 1.
    """
    sides = tf.shape(image)[:2]
    scale = tf.cast(sides, tf.float32)
    start = tf.cast(tf.round(box[:2] * scale), tf.int32)
    start = tf.clip_by_value(start, 0, sides - 1)
    end = tf.cast(tf.round(box[2:] * scale), tf.int32)
    end = tf.minimum(tf.maximum(end, start + 1), sides)
    return image[start[0] : end[0], start[1] : end[1]]
