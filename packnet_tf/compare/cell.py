"""One cell of a comparison: a method, a learning rate and a seed."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence

import tensorflow as tf

from packnet_tf.networks import Network, build
from packnet_tf.options.compare import CompareOptions
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.task import TaskOptions
from packnet_tf.workflow.datasets import Prepared


@dataclasses.dataclass(frozen=True)
class Cell:
    """What a method needs to learn all tasks once.

    Attributes:
        tasks: The data of each task, in the order in which they are learned.
        tests: The test images of each task; None while a learning rate is
            chosen.
        network: How the network is built.
        options: How a task is trained: budget, learning rate, seed.
        compare: What only some methods need.
        folder: For files of the work; empty at first, removed afterwards.
    """

    tasks: Sequence[Prepared]
    tests: Sequence[tf.data.Dataset] | None
    network: NetworkOptions
    options: TaskOptions
    compare: CompareOptions
    folder: pathlib.Path

    def build(self) -> Network:
        """Returns the network as every method begins with it."""
        return build(
            self.network.network,
            image_size=self.network.image_size,
            weights=self.network.weights,
            options=self.network.network_options,
            head_layer=self.network.head_layer,
        )

    @property
    def epochs(self) -> int:
        """Epochs for each task, which PackNet spends in two phases."""
        return self.options.train_epochs + self.options.retrain_epochs


@dataclasses.dataclass(frozen=True)
class Result:
    """What a method made of one cell.

    Attributes:
        method: Its name.
        learning_rate: The peak learning rate.
        seed: The seed.
        validation: The validation accuracy on each task after the last one
            was learned; None for a task without validation images.
        test: R[i][j], the test accuracy on task j after task i was learned;
            None for what cannot be measured. Empty while a learning rate is
            chosen, and so is `sizes`.
        sizes: Bytes on disk of all that answers for the tasks learned so
            far, after each task; None for what cannot be measured.
        seconds: Time of training alone, for all tasks together.
        latency: Milliseconds for one image, the median of many.
        diverged: Whether the loss or a weight became NaN or infinite; then
            there is nothing else.
    """

    method: str
    learning_rate: float
    seed: int
    validation: list[float | None] = dataclasses.field(default_factory=list)
    test: list[list[float | None]] = dataclasses.field(default_factory=list)
    sizes: list[int | None] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    latency: float | None = None
    diverged: bool = False

    @property
    def score(self) -> float | None:
        """Mean validation accuracy on all tasks, or None."""
        known = [share for share in self.validation if share is not None]
        if self.diverged or not known or len(known) < len(self.validation):
            return None
        return math.fsum(known) / len(known)
