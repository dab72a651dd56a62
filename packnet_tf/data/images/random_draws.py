"""Draws order and augmentation as pure functions of seed, epoch and example.

There is no random generator and no state: an interrupted run continues with
exactly the images it would have seen, for any number of replicas or threads.
An example's identity is a digest of its bytes, so file names and the kind of
source do not matter either.
"""

import dataclasses

import numpy as np

# What draws are for; each has its own stream of numbers.
ORDER, TOP, LEFT, FLIP, VALIDATION, TEST = range(6)
# Streams with a number for each attempt or operation.
AREA, ASPECT, TURNED, OPERATION, SIGN, MIXING, BETA = range(100, 800, 100)

# Random resized crops, as the paper's code draws them.
_ATTEMPTS = 10
_LEAST_AREA = 0.08
_LEAST_ASPECT, _MOST_ASPECT = 3 / 4, 4 / 3


@dataclasses.dataclass(frozen=True)
class Draws:
    """What one epoch does with each example.

    Attributes:
        order: int64 of shape [examples]: their places, as they are seen.
        top: float64 of shape [examples], from 0 to below 1: where the crop
            begins, as a share of the free room; by place.
        left: The same for the left edge.
        flip: bool of shape [examples]: whether the image is mirrored.
    """

    order: np.ndarray
    top: np.ndarray
    left: np.ndarray
    flip: np.ndarray


def draw(seed: int, epoch: int, ids: np.ndarray, labels: np.ndarray) -> Draws:
    """Returns the order, crops and flips of one epoch.

    Args:
        seed: The run's seed.
        epoch: Number of the epoch, from 0 on.
        ids: Identities of the examples, uint64 of shape [examples].
        labels: Their labels; they decide between examples of equal bytes.
    """
    return Draws(
        order=np.lexsort((labels, ids, _bits(seed, epoch, ORDER, ids))),
        top=uniform(seed, TOP, ids, epoch),
        left=uniform(seed, LEFT, ids, epoch),
        flip=_bits(seed, epoch, FLIP, ids) >> np.uint64(63) == 1,
    )


def uniform(
    seed: int, stream: int, ids: np.ndarray, epoch: int = -1
) -> np.ndarray:
    """Returns a uniform number, 0 <= x < 1, for each identity.

    Args:
        seed: The run's seed.
        stream: What it is for, e.g. `VALIDATION`.
        ids: Identities of the examples, uint64 of shape [examples].
        epoch: Number of the epoch; by default the same for all epochs.
    """
    bits = _bits(seed, epoch, stream, ids) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def resized_windows(
    seed: int, epoch: int, ids: np.ndarray, sides: np.ndarray
) -> np.ndarray:
    """Returns the rectangles that random resized crops cut.

    Of ten random rectangles, the first that lies within the image: its area
    is 8 to 100 % of the image's, its aspect ratio 3/4 to 4/3, in portrait or
    landscape. If none does, the largest square in the centre (section 4 of
    the paper).

    Args:
        seed: The run's seed.
        epoch: Number of the epoch.
        ids: Identities of the examples, uint64 of shape [examples].
        sides: Integer array of shape [examples, 2]: heights and widths.

    Returns:
        int64 array of shape [examples, 4]: top, left, height, width.
    """
    sides = np.asarray(sides, np.int64)
    heights, widths = sides[:, 0], sides[:, 1]
    square = sides.min(axis=1)
    size = np.stack([square, square], axis=1)
    found = np.zeros(len(ids), bool)
    for attempt in range(_ATTEMPTS):
        area, aspect, turned = (
            uniform(seed, stream + attempt, ids, epoch)
            for stream in (AREA, ASPECT, TURNED)
        )
        area = (_LEAST_AREA + area * (1 - _LEAST_AREA)) * heights * widths
        aspect = _LEAST_ASPECT + aspect * (_MOST_ASPECT - _LEAST_ASPECT)
        tall = np.rint(np.sqrt(area / aspect)).astype(np.int64)
        wide = np.rint(np.sqrt(area * aspect)).astype(np.int64)
        tall, wide = np.where(turned < 0.5, (tall, wide), (wide, tall))
        fits = (tall <= heights) & (wide <= widths)
        fits &= (tall > 0) & (wide > 0)
        size[fits & ~found] = np.stack([tall, wide], axis=1)[fits & ~found]
        found |= fits
        if found.all():
            break
    room = sides - size
    where = np.stack(
        [uniform(seed, stream, ids, epoch) for stream in (TOP, LEFT)], axis=1
    )
    start = np.where(found[:, None], where * (room + 1), room / 2)
    return np.concatenate([start.astype(np.int64), size], axis=1)


def _bits(seed: int, epoch: int, stream: int, ids: np.ndarray) -> np.ndarray:
    """Returns 64 random bits for each identity, by SplitMix64's mixing."""
    key = np.zeros(1, np.uint64)
    for part in (seed, epoch, stream):
        key = _mix(key ^ np.uint64(part % 2**64))
    return _mix(np.asarray(ids, np.uint64) ^ key)


def _mix(x: np.ndarray) -> np.ndarray:
    # The finalizer of SplitMix64 (Steele, Lea and Flood, 2014), in which
    # numbers wrap around.
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
