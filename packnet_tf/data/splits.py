"""Splits validation images off the training images."""

import numpy as np

from packnet_tf.data.images import random_draws
from packnet_tf.data.sources.base import Source
from packnet_tf.errors import DataError


def split(
    source: Source, validation_share: float, seed: int = 0
) -> tuple[Source, Source]:
    """Splits training images into those to train on and to validate with.

    Only an image's bytes and the seed decide its side, so it stays the same
    after another download, under another name, or when images are added, and
    copies of one image stay together. The share is therefore approximate.

    Args:
        source: The training images.
        validation_share: Approximate share of the validation images, at
            least 0 and less than 1. With 0 there are none; otherwise at
            least one, unless it were the last of its class.
        seed: Seed of the split.

    Returns:
        The training and the validation images. Every class keeps training
        images.

    Raises:
        DataError: If the share is out of range.
    """
    if not 0 <= validation_share < 1:
        raise DataError(
            f"The validation share is {validation_share}; expected at least 0 "
            "and less than 1."
        )
    if not validation_share:
        nothing = np.zeros(0, np.int64)
        return source.subset(np.arange(len(source))), source.subset(nothing)
    place = random_draws.uniform(seed, random_draws.VALIDATION, source.ids)
    held = place < validation_share
    if not held.any():
        held = place == place.min()
    for label in np.unique(source.labels):
        of_class = source.labels == label
        if held[of_class].all():
            # Return the image closest to the threshold, with its copies.
            held &= ~(of_class & (place == place[of_class].max()))
    return (
        source.subset(np.flatnonzero(~held)),
        source.subset(np.flatnonzero(held)),
    )


def stratified_parts(
    ids: np.ndarray, labels: np.ndarray, test_share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Splits off a test part, with the same share of each class.

    Args:
        ids: Identities of the examples, uint64 of shape [examples].
        labels: Their labels.
        test_share: Share of each class that becomes the test part.

    Returns:
        The places of the training and the test examples, in order.
    """
    place = random_draws.uniform(0, random_draws.TEST, ids)
    test = np.zeros(len(ids), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ranked = members[np.argsort(place[members], kind="stable")]
        test[ranked[: round(test_share * len(members))]] = True
    return np.flatnonzero(~test), np.flatnonzero(test)
