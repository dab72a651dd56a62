"""Computes a network's accuracy, overall and class by class."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from packnet_tf.model import workers


@dataclasses.dataclass(frozen=True)
class ClassScore:
    """How often the images of one class were answered right.

    Attributes:
        name: The class.
        images: How many images it has.
        right: How many were answered right.
        taken_for: The class that it was most often mistaken for, or None if
            there is none.
        times: How often it was mistaken for that class.
    """

    name: str
    images: int
    right: int
    taken_for: str | None
    times: int


def scores(net: keras.Model, dataset) -> tuple[np.ndarray, np.ndarray]:
    """Returns a dataset's labels and a network's scores.

    A `PackNet` answers with its active task.

    Args:
        net: A model whose outputs are scores or logits.
        dataset: Batches of (image, label).

    Returns:
        Class numbers of shape [images], and scores of shape [images,
        classes].
    """
    labels = [np.asarray(label) for _, label in dataset]
    if not labels:
        return np.zeros(0, np.int64), np.zeros((0, 1), np.float32)
    answers = np.concatenate(labels)
    workers.refuse_differing(
        net.distribute_strategy,
        answers.tobytes(),
        "the images that they read",
        "give all of them the same data",
    )
    # `predict` splits batches between replicas.
    found = net.predict(dataset.map(lambda image, _: image), verbose=0)
    return answers, found


def accuracy(net: keras.Model, dataset) -> float:
    """Returns the share of right answers, from 0 to 1; see `scores`."""
    labels, found = scores(net, dataset)
    return share_right(labels, np.argmax(found, -1))


def share_right(labels: np.ndarray, answered: np.ndarray) -> float:
    """Returns the share of right answers; 0 without images."""
    return float(np.mean(answered == labels)) if len(labels) else 0.0


def confusion(
    labels: np.ndarray, answered: np.ndarray, classes: int
) -> np.ndarray:
    """Returns how often each class was taken for each.

    Args:
        labels: Class numbers, of shape [images].
        answered: The answers, of the same shape.
        classes: Number of classes.

    Returns:
        int64 array of shape [classes, classes]: true class, then answer.

    Example:
        >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
        array([[1, 1],
               [0, 1]])
    """
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, answered), 1)
    return counts


def by_class(
    labels: np.ndarray, answered: np.ndarray, names: Sequence[str]
) -> tuple[ClassScore, ...]:
    """Returns a line for each class, in their order.

    Args:
        labels: Class numbers, of shape [images].
        answered: The answers, of the same shape.
        names: Name of each class.
    """
    counts = confusion(labels, answered, len(names))
    lines = []
    for number, (name, row) in enumerate(zip(names, counts, strict=True)):
        wrong = row.copy()
        wrong[number] = 0
        most = int(np.argmax(wrong))
        lines.append(
            ClassScore(
                name,
                int(row.sum()),
                int(row[number]),
                names[most] if wrong[most] else None,
                int(wrong[most]),
            )
        )
    return tuple(lines)
