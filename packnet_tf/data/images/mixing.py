"""Stronger augmentation by choice: RandAugment, MixUp and CutMix.

All of it is a pure function of seed, epoch and the identities of the images
in a batch, like order, crops and flips. MixUp and CutMix blend an image with
the one after it in its batch; their labels are shares of the classes.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from packnet_tf.data.images import random_draws
from packnet_tf.data.images.randaugment import MAX_MAGNITUDE, rand_augment
from packnet_tf.errors import DataError

# Name, usual setting, largest setting: the magnitude of RandAugment, and
# alpha of the Beta(alpha, alpha) that shares are drawn from.
_CHOICES = {
    "randaugment": (9.0, MAX_MAGNITUDE),
    "mixup": (0.2, 2.0),
    "cutmix": (1.0, 2.0),
}
_EXPECTED = "randaugment[:0..10], mixup[:0..2] or cutmix[:0..2]"


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """What training does to images beyond crops and flips.

    Attributes:
        randaugment: Magnitude of RandAugment's two operations, up to 10; 0
            for none.
        mixup: alpha of MixUp (Zhang et al. 2018), up to 2; 0 for none.
        cutmix: alpha of CutMix (Yun et al. 2019), up to 2; 0 for none. With
            both, every image draws one of the two.

    Example:

    >>> Augmentation.parse("randaugment:5,mixup")
    Augmentation(randaugment=5.0, mixup=0.2, cutmix=0.0)
    """

    randaugment: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name, (_, most) in _CHOICES.items():
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise DataError(
                    f"Augmentation {name}:{value:g}: expected 0 to {most:g}."
                )

    @property
    def soft(self) -> bool:
        """Whether labels are shares of the classes instead of numbers."""
        return bool(self.mixup or self.cutmix)

    @classmethod
    def parse(cls, text: str) -> "Augmentation":
        """Reads choices such as `"randaugment:9,mixup:0.2,cutmix"`.

        Args:
            text: Names with or without a setting, separated by commas; empty
                for none.

        Raises:
            DataError: Naming what is not understood.
        """
        found: dict[str, float] = {}
        for part in filter(None, (p.strip() for p in text.split(","))):
            name, colon, setting = part.partition(":")
            if name not in _CHOICES or name in found:
                raise DataError(
                    f"Augmentation {part!r}: expected {_EXPECTED}, each once."
                )
            try:
                found[name] = float(setting) if colon else _CHOICES[name][0]
            except ValueError:
                found[name] = math.nan
            if math.isnan(found[name]):
                raise DataError(f"Augmentation {part!r}: expected {_EXPECTED}.")
        return cls(**found)

    def to_facts(self) -> dict[str, Any]:
        """Returns the choices as a JSON-able dictionary, for a manifest."""
        return dataclasses.asdict(self)

    def apply(
        self,
        pixels: np.ndarray,
        labels: np.ndarray,
        ids: np.ndarray,
        classes: int,
        seed: int,
        epoch: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Augments one batch.

        Args:
            pixels: uint8 array of shape [batch, size, size, 3].
            labels: int32 array of shape [batch].
            ids: Identities of the images, uint64 of shape [batch].
            classes: Number of classes.
            seed: The run's seed.
            epoch: Number of the epoch.

        Returns:
            The pixels, and the labels: as they came, or with MixUp or CutMix
            both float32, the labels of shape [batch, classes] with rows that
            sum to 1.
        """
        if self.randaugment:
            pixels = rand_augment(pixels, ids, seed, epoch, self.randaugment)
        if not self.soft:
            return pixels, labels
        share = np.ones(len(ids))
        cut = self._cuts(seed, epoch, ids)
        for alpha, chosen in ((self.mixup, ~cut), (self.cutmix, cut)):
            if chosen.any():
                share[chosen] = _beta(alpha, seed, epoch, ids[chosen])
        mixed = pixels.astype(np.float32)
        size = pixels.shape[1]
        boxes = _boxes(share, size, seed, epoch, ids)
        for row in range(len(ids)):
            other = pixels[(row + 1) % len(ids)]
            if cut[row]:
                top, left, bottom, right = boxes[row]
                mixed[row, top:bottom, left:right] = other[
                    top:bottom, left:right
                ]
                # The label follows the pixels that are left.
                share[row] = 1 - (bottom - top) * (right - left) / size**2
            else:
                kept = np.float32(share[row])
                mixed[row] *= kept
                mixed[row] += (1 - kept) * other
        one_hot = np.eye(classes, dtype=np.float32)[labels]
        own = share.astype(np.float32)[:, None]
        return mixed, own * one_hot + (1 - own) * np.roll(one_hot, -1, axis=0)

    def _cuts(self, seed: int, epoch: int, ids: np.ndarray) -> np.ndarray:
        """Returns which images CutMix takes; MixUp takes the others."""
        if not (self.mixup and self.cutmix):
            return np.full(len(ids), bool(self.cutmix))
        return random_draws.uniform(seed, random_draws.MIXING, ids, epoch) < 0.5


def _beta(alpha: float, seed: int, epoch: int, ids: np.ndarray) -> np.ndarray:
    """Draws from Beta(alpha, alpha) by Jöhnk's method (1964).

    Of pairs of uniform numbers to the power of 1 / alpha, the first with a
    sum of at most 1 is taken.
    """
    found = np.full(len(ids), np.nan)
    attempt = 0
    while np.isnan(found).any():
        x, y = (
            random_draws.uniform(
                seed, random_draws.BETA + 2 * attempt + i, ids, epoch
            )
            ** (1 / alpha)
            for i in range(2)
        )
        total = x + y
        fits = np.isnan(found) & (0 < total) & (total <= 1)
        found[fits] = x[fits] / total[fits]
        attempt += 1
    return found


def _boxes(
    share: np.ndarray, size: int, seed: int, epoch: int, ids: np.ndarray
) -> np.ndarray:
    """Returns CutMix's rectangles: top, left, bottom, right in pixels."""
    side = size * np.sqrt(1 - share)
    edges = []
    for i in (1, 2):
        centre = (
            random_draws.uniform(seed, random_draws.MIXING + i, ids, epoch)
            * size
        )
        edges.append((centre - side / 2, centre + side / 2))
    (top, bottom), (left, right) = edges
    box = np.stack([top, left, bottom, right], axis=1)
    return np.clip(np.rint(box), 0, size).astype(np.int64)
