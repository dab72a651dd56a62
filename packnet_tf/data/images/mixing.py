"""Applies RandAugment, MixUp and CutMix to a batch of images.

Like order, crops and flips, this is a pure function of seed, epoch and the
identities of the images in a batch. MixUp and CutMix blend an image with the
next one in its batch; their labels are shares of the classes.
"""

import numpy as np

from packnet_tf.data.images import random_draws
from packnet_tf.data.images.randaugment import rand_augment
from packnet_tf.options.augmentation import Augmentation


def apply(
    choice: Augmentation,
    pixels: np.ndarray,
    labels: np.ndarray,
    ids: np.ndarray,
    classes: int,
    seed: int,
    epoch: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Augments one batch.

    Args:
        choice: What to do.
        pixels: uint8 array of shape [batch, size, size, 3].
        labels: int32 array of shape [batch].
        ids: Identities of the images, uint64 of shape [batch].
        classes: Number of classes.
        seed: The run's seed.
        epoch: Number of the epoch.

    Returns:
        The pixels and the labels: as they came, or, with MixUp or CutMix,
        both float32, with labels of shape [batch, classes] whose rows sum
        to 1.
    """
    if choice.randaugment:
        pixels = rand_augment(pixels, ids, seed, epoch, choice.randaugment)
    if not choice.soft:
        return pixels, labels
    share = np.ones(len(ids))
    cut = _cuts(choice, seed, epoch, ids)
    for alpha, chosen in ((choice.mixup, ~cut), (choice.cutmix, cut)):
        if chosen.any():
            share[chosen] = _beta(alpha, seed, epoch, ids[chosen])
    mixed = pixels.astype(np.float32)
    size = pixels.shape[1]
    boxes = _boxes(share, size, seed, epoch, ids)
    for row in range(len(ids)):
        other = pixels[(row + 1) % len(ids)]
        if cut[row]:
            top, left, bottom, right = boxes[row]
            mixed[row, top:bottom, left:right] = other[top:bottom, left:right]
            # The label follows the remaining pixels.
            share[row] = 1 - (bottom - top) * (right - left) / size**2
        else:
            kept = np.float32(share[row])
            mixed[row] *= kept
            mixed[row] += (1 - kept) * other
    one_hot = np.eye(classes, dtype=np.float32)[labels]
    own = share.astype(np.float32)[:, None]
    return mixed, own * one_hot + (1 - own) * np.roll(one_hot, -1, axis=0)


def _cuts(
    choice: Augmentation, seed: int, epoch: int, ids: np.ndarray
) -> np.ndarray:
    """Returns which images CutMix takes; MixUp takes the others."""
    if not (choice.mixup and choice.cutmix):
        return np.full(len(ids), bool(choice.cutmix))
    return random_draws.uniform(seed, random_draws.MIXING, ids, epoch) < 0.5


def _beta(alpha: float, seed: int, epoch: int, ids: np.ndarray) -> np.ndarray:
    """Draws from Beta(alpha, alpha) by Jöhnk's method (1964).

    It takes the first pair of uniform numbers that, raised to 1 / alpha, sum
    to at most 1.
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
