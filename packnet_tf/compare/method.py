"""What every method of a comparison does."""

import abc
import pathlib
from typing import ClassVar

import keras

from packnet_tf.compare.cell import Cell


class Method(abc.ABC):
    """One way of learning several tasks, one after another.

    Args:
        cell: What it learns, and how.

    Attributes:
        name: Its name on the command line.
        together: Whether it learns all tasks at once, with the last.
    """

    name: ClassVar[str]
    together: ClassVar[bool] = False

    def __init__(self, cell: Cell):
        self.cell = cell

    @abc.abstractmethod
    def learn(self, place: int) -> None:
        """Learns the next task.

        Args:
            place: Its place among the cell's tasks, from 0.

        Raises:
            DivergedError: If training ends in NaN or infinity.
        """

    @abc.abstractmethod
    def answering(self, place: int) -> keras.Model:
        """Returns a model that answers for a task that was learned.

        Args:
            place: The task's place, from 0.

        Returns:
            A model from pixels to scores, valid until the next call of any
            method of this object.
        """

    @abc.abstractmethod
    def save(self, folder: pathlib.Path) -> None:
        """Writes all that it takes to answer for the tasks learned so far.

        Args:
            folder: An empty folder.
        """
