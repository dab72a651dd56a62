"""Order and augmentation as pure functions of seed, epoch and example.

No state and no random generator: an interrupted run goes on with the very
images that it would have seen, whatever the number of replicas or threads.
An example's identity is a digest of its bytes, so file names and the kind of
source do not matter either.
"""

import dataclasses

import numpy as np

# What the draws are for; each has its own stream of numbers.
ORDER, TOP, LEFT, FLIP, VALIDATION, TEST = range(6)


@dataclasses.dataclass(frozen=True)
class Draws:
    """What one epoch does with each example.

    Attributes:
        order: int64 of shape [examples]: their places, as they are seen.
        top: float64 of shape [examples], from 0 to below 1: where the crop
            begins, as a share of the room there is; by place.
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
        top=_uniform(seed, epoch, TOP, ids),
        left=_uniform(seed, epoch, LEFT, ids),
        flip=_bits(seed, epoch, FLIP, ids) >> np.uint64(63) == 1,
    )


def uniform(seed: int, stream: int, ids: np.ndarray) -> np.ndarray:
    """Returns a number from 0 to below 1 for each identity.

    Args:
        seed: The run's seed.
        stream: What it is for: `VALIDATION` or `TEST`.
        ids: Identities of the examples, uint64 of shape [examples].
    """
    return _uniform(seed, -1, stream, ids)


def _uniform(seed: int, epoch: int, stream: int, ids: np.ndarray) -> np.ndarray:
    bits = _bits(seed, epoch, stream, ids) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def _bits(seed: int, epoch: int, stream: int, ids: np.ndarray) -> np.ndarray:
    """64 random bits an identity: three rounds of SplitMix64's mixing."""
    key = np.zeros(1, np.uint64)
    for part in (seed, epoch, stream):
        key = _mix(key ^ np.uint64(part % 2**64))
    return _mix(np.asarray(ids, np.uint64) ^ key)


def _mix(x: np.ndarray) -> np.ndarray:
    # The finalizer of SplitMix64 (Steele, Lea and Flood, 2014). Arrays wrap
    # around silently, as is meant.
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
