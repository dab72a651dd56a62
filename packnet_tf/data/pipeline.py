"""Turns a source into batches, for training and for evaluation.

Training images are decoded and resized once, to the size that squares are cut
from. If they fit a memory budget they are kept as bytes, and later epochs only
crop and flip them. Larger sets are read again every epoch, and give the same
batches, byte for byte.
"""

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from packnet_tf.data.images import random_draws
from packnet_tf.data.images.crops import Cutter, Store
from packnet_tf.data.images.pixel_path import evaluation_resize, working_image
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.sources.base import CORES, Progress, Source
from packnet_tf.errors import DataError
from packnet_tf.options.augmentation import Augmentation
from packnet_tf.tf_internals.datasets import without_autotune

# Memory for the images of one data set, in bytes.
CACHE_BYTES = 2 << 30

# Converting functions by AutoGraph takes longer than tracing them.
_as_it_is = tf.autograph.experimental.do_not_convert

# Batches cut in parallel.
_CUTTING = 2


class Training:
    """Shuffled, augmented batches; made by `training`.

    Attributes:
        source: The images.
        batch_size: Images per batch; the last of an epoch may have fewer.
        cutter: How working images become the batches' images and labels.
        steps: Batches per epoch.
        loss: Name of the Keras loss for the labels.
    """

    def __init__(
        self, source: Source, batch_size: int, cutter: Cutter, cache_bytes: int
    ):
        self.source = source
        self.batch_size = batch_size
        self.cutter = cutter
        self.steps = -(-len(source) // batch_size)
        soft = cutter.augmentation.soft
        self.loss = ("" if soft else "sparse_") + "categorical_crossentropy"
        self._store = Store(len(source), cache_bytes)

    def __len__(self) -> int:
        return self.steps

    def epoch(self, number: int) -> tf.data.Dataset:
        """Returns the batches of one epoch.

        Args:
            number: Number of the epoch, from 0. It alone determines the
                batches, in any process.

        Returns:
            Batches of (images, labels): float32 of shape [batch, image_size,
            image_size, 3] with values from 0 to 255; int32 of shape [batch],
            or, with MixUp or CutMix, float32 of shape [batch, classes].
        """
        source, ids = self.source, self.source.ids
        draws = random_draws.draw(self.cutter.seed, number, ids, source.labels)

        def cut(step, working):
            start = int(step) * self.batch_size
            places = draws.order[start : start + self.batch_size]
            return self.cutter.batch(
                working(places),
                places,
                source.labels[places],
                ids[places],
                draws,
                number,
            )

        if self._store.complete:
            get = self._store.get
            steps = without_autotune(tf.data.Dataset.range(self.steps))
            return steps.map(
                self._calling(
                    lambda step: cut(
                        step, lambda places: [get(i) for i in places.tolist()]
                    )
                ),
                num_parallel_calls=_CUTTING,
            ).prefetch(2)

        def cut_read(step, padded, *sides):
            working = _unpadded(padded, *sides)

            def keep(places):
                for place, image in zip(places.tolist(), working, strict=True):
                    self._store.put(place, image)
                return working

            return cut(step, keep)

        return (
            self._working_images(draws.order)
            .map(self._calling(cut_read), num_parallel_calls=_CUTTING)
            .prefetch(2)
        )

    def load(self, progress: Progress | None = None) -> bool:
        """Decodes all images into memory if they fit.

        The first epoch does so anyway.

        Args:
            progress: Called with the number of images done and the total.

        Returns:
            Whether the images are in memory.
        """
        # In the order of their digests, so that the first are a fair sample.
        order = np.argsort(self.source.ids, kind="stable")
        done = 0
        if not (self._store.complete or self._store.refused):
            for _, batch in self._working_images(order):
                arrays = (part.numpy() for part in tf.nest.flatten(batch))
                for image in _unpadded(*arrays):
                    self._store.put(order[done], image)
                    done += 1
                if self._store.refused:
                    break
                if progress is not None:
                    progress(done, len(order))
        return self._store.complete

    def _working_images(self, order: np.ndarray) -> tf.data.Dataset:
        """Returns numbered batches: (images) or (padded images, sides)."""
        resize = functools.partial(
            working_image,
            image_size=self.cutter.image_size,
            preprocessing=self.cutter.preprocessing,
        )

        def resize_all_sizes(image):
            image = resize(image)
            return image, tf.shape(image)[:2]

        if self.cutter.preprocessing.resize == "squash":
            batches = self.source.decoded(order, resize).batch(self.batch_size)
        else:
            # Images differ in shape. Passing them one by one would take as
            # long as decoding them, so they are padded to form batches.
            batches = self.source.decoded(order, resize_all_sizes)
            batches = batches.padded_batch(self.batch_size)
        # What enumerate() does, in half the time.
        steps = tf.data.Dataset.range(-(-len(order) // self.batch_size))
        options = tf.data.Options()
        # While a batch waits for the GIL, every core can decode.
        options.threading.private_threadpool_size = CORES + 1
        return without_autotune(
            tf.data.Dataset.zip(steps, batches).with_options(options)
        )

    def _calling(self, function):
        """Returns a function of tensors that calls a function of arrays."""
        size, soft = self.cutter.image_size, self.cutter.augmentation.soft
        kinds = (tf.float32, tf.float32) if soft else (tf.uint8, tf.int32)
        shape = [None, self.cutter.classes] if soft else [None]

        @_as_it_is
        def call(*arguments: Any):
            pixels, labels = tf.numpy_function(
                function, tf.nest.flatten(arguments), kinds
            )
            pixels.set_shape([None, size, size, 3])
            labels.set_shape(shape)
            return tf.cast(pixels, tf.float32), labels

        return call


def _unpadded(
    padded: np.ndarray, sides: np.ndarray | None = None
) -> list[np.ndarray]:
    """Returns the images of a batch with their own heights and widths."""
    if sides is None:
        return list(padded)
    return [
        image[:height, :width]
        for image, (height, width) in zip(padded, sides.tolist(), strict=True)
    ]


def training(
    source: Source,
    image_size: int,
    batch_size: int,
    seed: int = 0,
    preprocessing: Preprocessing | None = None,
    cache_bytes: int = CACHE_BYTES,
    augmentation: Augmentation | None = None,
) -> Training:
    """Returns the batches to train on, one epoch at a time.

    An epoch shows every image once, shuffled over the whole set. Order, crops
    and flips are functions of the seed, the epoch's number and the image's
    bytes: the same for any number of replicas, any kind of source, and after
    an interruption.

    Args:
        source: The training images.
        image_size: Height and width of the network's images, in pixels.
        batch_size: Images per batch, over all replicas.
        seed: Seed of order and augmentation.
        preprocessing: Replaces the source's own. Its `box` is ignored: the
            source cuts boxes if it was opened that way.
        cache_bytes: Memory for the decoded images; larger sets are decoded
            again every epoch.
        augmentation: What is done beyond crops and flips; nothing by
            default.

    Raises:
        DataError: If there are fewer images than a batch, or none in a batch.

    Example:

    >>> batches = pipeline.training(source, 96, 32)
    >>> for number in range(10):
    ...     net.fit(batches.epoch(number))
    """
    check_batch(len(source), batch_size)
    cutter = Cutter(
        image_size,
        preprocessing or source.preprocessing,
        augmentation or Augmentation(),
        len(source.class_names),
        seed,
    )
    return Training(source, batch_size, cutter, cache_bytes)


def evaluation(
    source: Source,
    image_size: int,
    batch_size: int,
    preprocessing: Preprocessing | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> tf.data.Dataset:
    """Returns batches of all images, preprocessed by `evaluation_resize`.

    They come in the order of `evaluation_order`, which is the same for a
    folder and a TFDS data set of the same images.

    Args:
        source: The images.
        image_size: Height and width of the network's images, in pixels.
        batch_size: Images per batch; the last may have fewer.
        preprocessing: See `training`.
        cache_bytes: Memory for the images; if they fit, they are kept after
            the first pass.

    Returns:
        Batches of (images, labels), as from `Training.epoch`.
    """
    resize = functools.partial(
        evaluation_resize,
        image_size=image_size,
        preprocessing=preprocessing or source.preprocessing,
    )
    order = evaluation_order(source)
    # Whole values from 0 to 255: bytes hold them at a quarter of the size.
    dataset = source.decoded(
        order, lambda image: tf.cast(resize(image), tf.uint8)
    )
    labels = tf.data.Dataset.from_tensor_slices(source.labels[order])
    dataset = tf.data.Dataset.zip(dataset, labels).batch(batch_size)
    if len(order) * image_size * image_size * 3 <= cache_bytes:
        dataset = dataset.cache()
    return without_autotune(dataset.map(_as_it_is(_to_float)).prefetch(2))


def evaluation_order(source: Source) -> np.ndarray:
    """Returns the places of all images in the order of their identities."""
    return np.lexsort((source.labels, source.ids))


def check_batch(count: int, batch_size: int) -> None:
    """Refuses a batch size of 0, or larger than the training set.

    Args:
        count: Number of training images.
        batch_size: Images per batch.
    """
    if batch_size < 1:
        raise DataError(f"The batch size is {batch_size}; expected 1 or more.")
    if count < batch_size:
        raise DataError(
            f"There are {count} training images, fewer than a batch of "
            f"{batch_size}; lower the batch size to {max(count, 1)} or less."
        )


def _to_float(pixels: tf.Tensor, labels: tf.Tensor):
    return tf.cast(pixels, tf.float32), labels
