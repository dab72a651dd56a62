"""Computes a network's accuracy, overall and class by class."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np


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


def answers(net: keras.Model, dataset) -> tuple[np.ndarray, np.ndarray]:
    """Returns a dataset's labels and a network's answers.

    A `PackNet` answers with its active task.

    Args:
        net: A model whose outputs are scores or logits.
        dataset: Batches of (image, label).

    Returns:
        Two arrays of class numbers, of shape [images].
    """
    # `predict` splits batches between replicas.
    scores = net.predict(dataset.map(lambda image, _: image), verbose=0)
    labels = [np.asarray(label) for _, label in dataset]
    if not labels:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(labels), np.argmax(scores, -1)


def accuracy(net: keras.Model, dataset) -> float:
    """Returns the share of right answers, from 0 to 1; see `answers`."""
    return share_right(*answers(net, dataset))


def share_right(labels: np.ndarray, answered: np.ndarray) -> float:
    """Returns the share of right answers; 0 without images."""
    return float(np.mean(answered == labels)) if len(labels) else 0.0


def by_class(
    labels: np.ndarray, answered: np.ndarray, names: Sequence[str]
) -> tuple[ClassScore, ...]:
    """Returns a line for each class, in their order.

    Args:
        labels: Class numbers, of shape [images].
        answered: The answers, of the same shape.
        names: Name of each class.
    """
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (labels, answered), 1)
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
