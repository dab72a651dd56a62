"""Tasks that are some classes of a data set, such as two of MNIST's digits."""

from collections.abc import Sequence

import numpy as np

from packnet_tf.data.sources.base import Source, Subset
from packnet_tf.errors import DataError


class ClassSubset(Subset):
    """The images of some classes, numbered anew from 0.

    Args:
        whole: The other source.
        labels: The labels there, in their new order.
    """

    def __init__(self, whole: Source, labels: Sequence[int]):
        super().__init__(whole, np.flatnonzero(np.isin(whole.labels, labels)))
        numbers = np.full(len(whole.class_names), -1, np.int32)
        numbers[list(labels)] = np.arange(len(labels))
        self.labels = numbers[self.labels]
        self.class_names = tuple(whole.class_names[i] for i in labels)


def select(source: Source, labels: Sequence[int], task: str) -> Source:
    """Returns the images of some classes.

    Args:
        source: Images of the whole data set, or of just these classes.
        labels: The labels in the whole data set, in their new order.
        task: The task's name, for messages.

    Raises:
        DataError: If the source is neither.
    """
    classes = len(source.class_names)
    if classes == len(labels):
        return source
    if classes <= max(labels):
        raise DataError(
            f"The data {source.origin} has {classes} classes; expected the "
            f"{len(labels)} of task {task!r}, or all that they are taken "
            "from."
        )
    return ClassSubset(source, labels)
