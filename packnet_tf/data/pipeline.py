"""From a source to batches, for training and for evaluation.

Training images are decoded and resized once, to where the network's square
is cut from, and kept as bytes in memory if they fit a budget; an epoch is
then only crops and flips. Sets that do not fit are read again every epoch,
to the same batches, byte for byte.
"""

import functools

import numpy as np
import tensorflow as tf

from packnet_tf.data import augment, images
from packnet_tf.data.sources import Progress, Source
from packnet_tf.errors import DataError

# Memory that the images of one data set may take, in bytes.
CACHE_BYTES = 2 << 30

# Images read together, and the fewest to guess what all of them will take.
_CHUNK = 64

_NOTHING = np.zeros((0, 0, 3), np.uint8)


class Training:
    """Shuffled, augmented batches; made by `training`.

    Attributes:
        source: The images.
        image_size: Height and width of the batches' images, in pixels.
        batch_size: Images of a batch; the last of an epoch may have fewer.
        steps: Batches of an epoch.
        preprocessing: How the images are resized, cropped and mirrored.
    """

    def __init__(
        self,
        source: Source,
        image_size: int,
        batch_size: int,
        seed: int,
        preprocessing: images.Preprocessing,
        cache_bytes: int,
    ):
        self.source = source
        self.image_size = image_size
        self.batch_size = batch_size
        self.steps = -(-len(source) // batch_size)
        self.preprocessing = preprocessing
        self._seed = seed
        self._cache_bytes = cache_bytes
        self._cache: list[np.ndarray] | None = None
        self._cached: bool | None = None

    def __len__(self) -> int:
        return self.steps

    def epoch(self, number: int) -> tf.data.Dataset:
        """Returns the batches of one epoch.

        Args:
            number: From 0 on. The same number gives the same batches in any
                process, whatever was read before.

        Returns:
            Batches of (images, labels): float32 of shape [batch, image_size,
            image_size, 3] with values from 0 to 255, int32 of shape [batch].
        """
        self.load()
        draws = augment.draw(
            self._seed, number, self.source.ids, self.source.labels
        )
        if self._cache is not None:
            dataset = self._from_cache(draws)
        else:
            dataset = self._from_source(draws)
        return dataset.map(_to_float).prefetch(2)

    def load(self, progress: Progress | None = None) -> bool:
        """Decodes all images into memory, where they fit; `epoch` calls it.

        Args:
            progress: Called with the number of images done and of all.

        Returns:
            Whether the images are in memory.
        """
        if self._cached is None:
            self._cache = self._read_all(progress)
            self._cached = self._cache is not None
        return self._cached

    def _working_images(self, indices: np.ndarray) -> tf.data.Dataset:
        return self.source.decoded(indices).map(
            lambda image: images.working_image(
                image, self.image_size, self.preprocessing
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
        )

    def _read_all(self, progress: Progress | None) -> list[np.ndarray] | None:
        """Returns all working images, or None if they do not fit."""
        count = len(self.source)
        # In the order of their digests: any first part is a fair sample.
        order = np.argsort(self.source.ids, kind="stable")
        cache: list[np.ndarray] = [_NOTHING] * count
        size = done = 0
        # Images differ in shape, so they travel as rows of bytes; one by one
        # they would cost half as much in Python as in decoding.
        rows = self._working_images(order).map(
            lambda image: (tf.reshape(image, [-1]), tf.shape(image))
        )
        for padded, shapes in rows.padded_batch(_CHUNK).prefetch(2):
            sizes = shapes.numpy().prod(axis=1)
            for row, n, shape in zip(
                padded.numpy(), sizes, shapes.numpy(), strict=True
            ):
                cache[order[done]] = row[:n].copy().reshape(shape)
                done += 1
            size += int(sizes.sum())
            if size / done * count > self._cache_bytes:
                return None
            if progress is not None:
                progress(done, count)
        return cache

    def _from_cache(self, draws: augment.Draws) -> tf.data.Dataset:
        """Crops and mirrors with NumPy, a batch at a time."""
        size, labels = self.image_size, self.source.labels
        random = self.preprocessing.crop == "random"

        def batch(step):
            start = int(step) * self.batch_size
            places = draws.order[start : start + self.batch_size]
            pixels = np.empty((len(places), size, size, 3), np.uint8)
            for out, place in zip(pixels, places, strict=True):
                image = self._cache[place]
                rows, columns = (side - size for side in image.shape[:2])
                if random:
                    top = int(draws.top[place] * (rows + 1))
                    left = int(draws.left[place] * (columns + 1))
                else:
                    top, left = rows // 2, columns // 2
                square = image[top : top + size, left : left + size]
                if self.preprocessing.flip and draws.flip[place]:
                    square = square[:, ::-1]
                out[:] = square
            return pixels, labels[places]

        def load(step):
            pixels, found = tf.numpy_function(
                batch, [step], [tf.uint8, tf.int32]
            )
            return (
                tf.ensure_shape(pixels, [None, size, size, 3]),
                tf.ensure_shape(found, [None]),
            )

        steps = tf.data.Dataset.range(self.steps)
        return steps.map(load, num_parallel_calls=2)

    def _from_source(self, draws: augment.Draws) -> tf.data.Dataset:
        """Reads, crops and mirrors with TensorFlow, to the same bytes."""
        size, order = self.image_size, draws.order
        random = self.preprocessing.crop == "random"

        def cut(image, top, left, flip):
            if random:
                room = tf.shape(image)[:2] - size
                share = tf.stack([top, left])
                start = share * tf.cast(room + 1, tf.float64)
                start = tf.cast(start, tf.int32)
                image = tf.slice(
                    image, tf.concat([start, [0]], 0), [size, size, 3]
                )
            else:
                image = images.centre_square(image, size)
            if self.preprocessing.flip:
                image = tf.cond(flip, lambda: image[:, ::-1], lambda: image)
            return tf.ensure_shape(image, [size, size, 3])

        how = tf.data.Dataset.from_tensor_slices(
            (draws.top[order], draws.left[order], draws.flip[order])
        )
        squares = tf.data.Dataset.zip(self._working_images(order), how).map(
            lambda image, how: cut(image, *how),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        labels = tf.data.Dataset.from_tensor_slices(self.source.labels[order])
        return tf.data.Dataset.zip(squares, labels).batch(self.batch_size)


def training(
    source: Source,
    image_size: int,
    batch_size: int,
    seed: int = 0,
    preprocessing: images.Preprocessing | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> Training:
    """Returns the batches to train on, an epoch at a time.

    An epoch shows every image once, in an order over the whole set. Order,
    crops and flips are functions of the seed, the epoch's number and the
    image's bytes: the same for any number of replicas, any kind of source,
    and after an interruption.

    Args:
        source: The training images.
        image_size: Height and width of the network's images, in pixels.
        batch_size: Images of a batch, over all replicas.
        seed: Seed of order and augmentation.
        preprocessing: In place of the source's own; its `box` has no say
            here, boxes are cut where the source was opened so.
        cache_bytes: Memory that the decoded images may take; sets that need
            more are decoded again every epoch.

    Raises:
        DataError: If there are fewer images than a batch.

    Example:

    >>> batches = pipeline.training(source, 96, 32)
    >>> for number in range(10):
    ...     net.fit(batches.epoch(number))
    """
    check_batch(len(source), batch_size)
    return Training(
        source,
        image_size,
        batch_size,
        seed,
        preprocessing or source.preprocessing,
        cache_bytes,
    )


def evaluation(
    source: Source,
    image_size: int,
    batch_size: int,
    preprocessing: images.Preprocessing | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> tf.data.Dataset:
    """Returns all images in the source's order, as `evaluation_resize` does.

    Args:
        source: The images.
        image_size: Height and width of the network's images, in pixels.
        batch_size: Images of a batch; the last may have fewer.
        preprocessing: In place of the source's own; its `box` has no say
            here, boxes are cut where the source was opened so.
        cache_bytes: Memory that the images may take; those of a set that
            fits are kept from the first pass on.

    Returns:
        Batches of (images, labels) as those of `Training.epoch`.
    """
    resize = functools.partial(
        images.evaluation_resize,
        image_size=image_size,
        preprocessing=preprocessing or source.preprocessing,
    )
    count = len(source)
    # Whole values from 0 to 255: bytes hold them at a quarter of the size.
    dataset = source.decoded(np.arange(count)).map(
        lambda image: tf.cast(resize(image), tf.uint8),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    labels = tf.data.Dataset.from_tensor_slices(source.labels)
    dataset = tf.data.Dataset.zip(dataset, labels).batch(batch_size)
    if count * image_size * image_size * 3 <= cache_bytes:
        dataset = dataset.cache()
    return dataset.map(_to_float).prefetch(2)


def check_batch(count: int, batch_size: int) -> None:
    """Refuses a batch size that not even one batch can be made of.

    Args:
        count: Number of training images.
        batch_size: Images of a batch.

    Raises:
        DataError: If there are fewer images than a batch.
    """
    if count < batch_size:
        raise DataError(
            f"There are {count} training images, fewer than a batch of "
            f"{batch_size}; lower the batch size to {max(count, 1)} or less."
        )


def _to_float(pixels: tf.Tensor, labels: tf.Tensor):
    return tf.cast(pixels, tf.float32), labels
