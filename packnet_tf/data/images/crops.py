"""Cuts training squares out of working images, and keeps those in memory.

Training and evaluation share decoding and resizing. Only training crops, flips
and augments, in NumPy, one batch at a time.
"""

import dataclasses
import threading
from collections.abc import Sequence

import numpy as np
from PIL import Image

from packnet_tf.data.images import mixing, random_draws
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.options.augmentation import Augmentation

# Images needed to estimate the memory for all of them.
_SAMPLE = 64


class Store:
    """Keeps working images in memory if they fit a budget.

    Args:
        count: How many there will be.
        budget: Memory for them, in bytes.
    """

    def __init__(self, count: int, budget: int):
        self._images: list[np.ndarray | None] = [None] * count
        self._budget = budget
        self._bytes = self._found = 0
        self._lock = threading.Lock()
        self.refused = False

    @property
    def complete(self) -> bool:
        """Whether all images are here."""
        return self._found == len(self._images)

    def put(self, place: int, image: np.ndarray) -> None:
        """Keeps an image, or drops all once they turn out not to fit.

        The total is estimated from the first images, so their order must not
        depend on their size.
        """
        if self.refused or self._images[place] is not None:
            return
        # A view into a padded batch would keep the whole batch alive.
        kept = np.ascontiguousarray(image)
        with self._lock:
            if self._images[place] is None:
                self._images[place] = kept
                self._found += 1
                self._bytes += kept.nbytes
            if self._found < min(_SAMPLE, len(self._images)):
                return
            if self._bytes * len(self._images) > self._budget * self._found:
                self.refused = True
                self._images = [None] * len(self._images)
                self._found = 0

    def get(self, place: int) -> np.ndarray:
        """Returns an image of a complete store."""
        image = self._images[place]
        if image is None:
            raise KeyError(place)
        return image


@dataclasses.dataclass(frozen=True)
class Cutter:
    """Cuts and augments batches of working images.

    Attributes:
        image_size: Height and width of the squares, in pixels.
        preprocessing: How the images are cropped and mirrored.
        augmentation: What is done beyond that.
        classes: Number of classes.
        seed: The run's seed.
    """

    image_size: int
    preprocessing: Preprocessing
    augmentation: Augmentation
    classes: int
    seed: int

    def batch(
        self,
        images: Sequence[np.ndarray],
        places: np.ndarray,
        labels: np.ndarray,
        ids: np.ndarray,
        draws: random_draws.Draws,
        epoch: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the pixels and labels of a batch.

        Args:
            images: Working images, uint8 of shape [height, width, 3].
            places: Their places in `draws`, int64 of shape [batch].
            labels: Their labels, int32 of shape [batch].
            ids: Their identities, uint64 of shape [batch].
            draws: What the epoch does to every example.
            epoch: Number of the epoch.

        Returns:
            Pixels of shape [batch, size, size, 3], uint8, or float32 where
            images are blended; labels as in `mixing.apply`.
        """
        size, crop = self.image_size, self.preprocessing.crop
        windows = self._windows(images, places, ids, draws, epoch)
        flips = [False] * len(places)
        if self.preprocessing.flip:
            flips = draws.flip[places].tolist()
        pixels = np.empty((len(places), size, size, 3), np.uint8)
        for out, image, (top, left, height, width), flip in zip(
            pixels, images, windows, flips, strict=True
        ):
            square = image[top : top + height, left : left + width]
            if crop == "resized":
                square = np.asarray(
                    Image.fromarray(square).resize(
                        (size, size), Image.Resampling.BILINEAR
                    )
                )
            if flip:
                # Channel by channel, which is three times as fast.
                for channel in range(3):
                    out[:, :, channel] = square[:, ::-1, channel]
            else:
                out[:] = square
        return mixing.apply(
            self.augmentation,
            pixels,
            labels,
            ids,
            self.classes,
            self.seed,
            epoch,
        )

    def _windows(self, images, places, ids, draws, epoch) -> list[list[int]]:
        """Returns top, left, height and width of each window."""
        sides = np.array([image.shape[:2] for image in images], np.int64)
        if self.preprocessing.crop == "resized":
            return random_draws.resized_windows(
                self.seed, epoch, ids, sides
            ).tolist()
        room = sides - self.image_size
        if self.preprocessing.crop == "random":
            share = np.stack([draws.top[places], draws.left[places]], axis=1)
            start = (share * (room + 1)).astype(np.int64)
        else:
            start = room // 2
        return [
            [*corner, self.image_size, self.image_size]
            for corner in start.tolist()
        ]
