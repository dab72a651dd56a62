"""Sources of image files, in a folder or in records."""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures

import numpy as np
import tensorflow as tf

from packnet_tf.data.images import transcode
from packnet_tf.data.images.pixel_path import decode
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.sources.base import PARALLEL, Source, digest
from packnet_tf.errors import DataError

# Files that a thread reads at a time.
_SCAN_CHUNK = 64


@dataclasses.dataclass
class Scanned:
    """The result of one pass over the image files of a source.

    Attributes:
        ids: Identities, uint64 of shape [examples].
        odd: Which files must be converted for TensorFlow, bool of shape
            [examples].
        bad: What is wrong with files that are not images, by place.
        sides: Heights and widths, int32 of shape [examples, 2]; None until
            the files are decoded.
    """

    ids: np.ndarray
    odd: np.ndarray
    bad: dict[int, str]
    sides: np.ndarray | None = None

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns the result as arrays, for the cache."""
        return {
            "ids": self.ids,
            "odd": self.odd,
            "sides": np.asarray(self.sides),
            "bad": np.array(list(self.bad), np.int64),
            "texts": np.array(list(self.bad.values()), str),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Scanned":
        """Returns what `to_arrays` described."""
        texts = arrays["texts"].tolist()
        bad = dict(zip(arrays["bad"].tolist(), texts, strict=True))
        return cls(arrays["ids"], arrays["odd"], bad, arrays["sides"])


class EncodedSource(Source):
    """The common part of sources of image files, in a folder or in records.

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
        preprocessing: Preprocessing,
        boxes: np.ndarray | None = None,
    ):
        self.labels = np.asarray(labels, np.int32)
        self.class_names = tuple(class_names)
        self.preprocessing = (
            preprocessing if boxes is not None else preprocessing.unboxed()
        )
        self.boxes = boxes
        # Whether the system failed to read a file, which may pass.
        self.unread = False
        self._scanned: Scanned | None = None

    @abc.abstractmethod
    def encoded(self, index: int) -> bytes:
        """Returns the bytes of an image file as they are stored."""

    @property
    def ids(self) -> np.ndarray:
        return self.ids_at(np.arange(len(self)))

    def ids_at(self, places):
        return self._known(places).ids[places]

    def survey(self) -> Scanned:
        """Reads every file once, without decoding it."""
        if self._scanned is not None:
            return self._scanned
        found = Scanned(
            np.zeros(len(self), np.uint64), np.zeros(len(self), bool), {}
        )
        # Threads help, since reading and hashing release the GIL. Each takes
        # many files, since passing one takes as long as scanning it.
        chunks = [
            range(start, min(start + _SCAN_CHUNK, len(self)))
            for start in range(0, len(self), _SCAN_CHUNK)
        ]
        with futures.ThreadPoolExecutor(4) as pool:
            scanned = pool.map(lambda c: [*map(self._scan_one, c)], chunks)
            for chunk, ones in zip(chunks, scanned, strict=True):
                for i, one in zip(chunk, ones, strict=True):
                    if isinstance(one, str):
                        found.bad[i] = one
                    else:
                        found.ids[i], found.odd[i] = one
        self._scanned = found
        return found

    def know(self, scanned: Scanned) -> None:
        """Uses the result of an earlier scan of the same files."""
        self._scanned = scanned

    def fingerprint(self) -> str | None:
        """Returns a key that changes with the files, if there is one."""
        return None

    def _known(self, places: np.ndarray) -> Scanned:
        """Returns the scan, or raises for a bad file at one of the places."""
        found = self.survey()
        bad = np.array([*found.bad], np.int64)
        for index in bad[np.isin(bad, places)].tolist():
            raise self.error(index, found.bad[index])
        return found

    def _scan_one(self, index: int) -> tuple[int, bool] | str:
        try:
            content = self.encoded(index)
            return digest(content), transcode.needs_conversion(content)
        except OSError as error:
            self.unread = True
            return f"{error.strerror}."
        except DataError as error:
            return str(error)

    def error(self, index: int, text: str) -> DataError:
        """Returns the error of an example, with its name and a remedy."""
        return DataError(
            f"{self.describe(index)}: {text} Replace or remove it.".replace(
                "\n", " "
            )
        )

    def decoded(self, indices, then=None):
        indices = np.asarray(indices, np.int64)
        self._known(indices)
        load = self.load_op(indices)

        # Converting it by AutoGraph would take longer than tracing it.
        @tf.autograph.experimental.do_not_convert
        def read(index):
            image = load(index)
            return image if then is None else then(image)

        return tf.data.Dataset.from_tensor_slices(indices).map(
            read, num_parallel_calls=PARALLEL
        )

    def load_op(self, indices: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns a function from an int64 index to the decoded image.

        Args:
            indices: All places that it will be called with.
        """
        odd = self.survey().odd
        read = self.read_op()
        if odd[indices].any():
            read = self._converting(read, tf.constant(odd))
        if self.boxes is None or not self.preprocessing.box:
            return lambda index: decode(read(index))
        boxes = tf.constant(self.boxes, tf.float32)
        return lambda index: cut_box(decode(read(index)), boxes[index])

    def read_op(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Returns a function from an int64 index to the encoded image."""

        def read(index):
            content = tf.numpy_function(
                lambda i: self.encoded(int(i)), [index], tf.string
            )
            return tf.ensure_shape(content, [])

        return read

    def _converting(self, read, odd):
        """Returns `read`, with files that TensorFlow misreads as PNG.

        Args:
            read: The result of `read_op`.
            odd: Which files those are, bool tensor of shape [examples].
        """

        def convert(index):
            return transcode.as_readable(self.encoded(int(index)))

        def read_converted(index):
            content = tf.cond(
                odd[index],
                lambda: tf.numpy_function(convert, [index], tf.string),
                lambda: read(index),
            )
            return tf.ensure_shape(content, [])

        return read_converted


def cut_box(image: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
    """Cuts an image to its bounding box, like the paper's CUBS and Cars.

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
