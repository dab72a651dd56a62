"""The common part of all methods but PackNet: one backbone, many heads.

A method says which variables each task has a copy of. The others are shared:
frozen, or changed by every task that comes.
"""

import pathlib
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from packnet_tf.compare.cell import Cell
from packnet_tf.compare.kernels import kernels_of, private_of
from packnet_tf.compare.method import Method
from packnet_tf.compare.training import Penalized, train
from packnet_tf.model import linear_probe
from packnet_tf.workflow.datasets import Prepared
from packnet_tf.workflow.fit_images import training_images


class Plain(Method):
    """A method on a plain network, with a head for each task.

    A network without pretrained weights has nothing worth freezing: there the
    first task trains all of it, and later tasks build on that.

    Attributes:
        backbone: The network below the heads.
        kernels: Its kernels.
        private: Its other variables; see `kernels.private_of`.
        heads: The heads of the tasks learned so far.
        models: Their models, over the one backbone.
        kept: For each of them, the values of its copies of `own`.
        frozen: Whether tasks share the kernels as they are.
    """

    frozen: ClassVar[bool] = False

    def __init__(self, cell: Cell):
        super().__init__(cell)
        self.backbone = cell.build().backbone
        self.kernels = kernels_of(self.backbone)
        self.private = private_of(self.backbone)
        self.prepare()
        if self.frozen:
            self.share(True)
        self.own = self.per_task()
        self._start = values_of(self.own)
        self.heads: list[keras.layers.Dense] = []
        self.models: list[keras.Model] = []
        self.kept: list[list[np.ndarray]] = []

    def prepare(self) -> None:
        """Adds variables, before anything is learned."""

    def share(self, frozen: bool) -> None:
        """Freezes what tasks share, or lets the first task train it."""
        set_trainable(self.kernels, not frozen)

    def per_task(self) -> Sequence[keras.Variable]:
        """Returns the variables of which each task has a copy."""
        return ()

    def learn(self, place: int) -> None:
        """Learns a task; its own variables start from the network's."""
        self.begin(place)
        if place or not self.frozen or self.cell.network.pretrained:
            self.fit(place)
        else:
            self.fit_base()
        self.end(place)

    def fit_base(self) -> None:
        """Trains all of the network on the first task."""
        self.share(False)
        Plain.fit(self, 0, Plain.model(self, 0))
        self.share(True)
        self._start = values_of(self.own)

    def begin(self, place: int) -> None:
        """Makes the head of a task, and sets its own variables to start."""
        assign(self.own, self._start)
        classes = len(self.cell.tasks[place].class_names)
        head = keras.layers.Dense(
            classes, activation="softmax", name=f"head_{place}"
        )
        head.build(self.backbone.output_shape)
        known = place > 0 or self.cell.network.pretrained
        if known and self.cell.options.head_start == "probe":
            probe = probe_of(self.backbone, self.cell.tasks[place])
            head.set_weights(probe)
        self.heads.append(head)
        self.models.append(self.model(place))

    def fit(
        self, place: int, model: keras.Model | None = None, **part: Any
    ) -> None:
        """Trains a task with the budget.

        Args:
            place: Its place.
            model: The model to train, in place of the task's own.
            **part: As for `training.train`, which part of the budget.
        """
        data = self.cell.tasks[place].train
        title = f"{self.name} {self.cell.tasks[place].name}"
        train(
            model or self.models[place],
            self.cell,
            title,
            data.epoch,
            data.steps,
            data.loss,
            **part,
        )

    def end(self, place: int) -> None:
        """Keeps the task's own variables."""
        self.kept.append(values_of(self.own))

    def model(self, place: int) -> keras.Model:
        """Returns a new model of a task over the backbone."""
        pixels = self.backbone.inputs[0]
        return Penalized(pixels, self.heads[place](self.backbone.outputs[0]))

    def answering(self, place: int) -> keras.Model:
        """Returns a model of a task, with its own variables put back."""
        assign(self.own, self.kept[place])
        return self.models[place]

    def save(self, folder: pathlib.Path) -> None:
        """Writes the shared variables once, and those of each task."""
        own = {id(variable) for variable in self.own}
        shared = [v for v in self.backbone.weights if id(v) not in own]
        write(folder / "shared.npz", shared=values_of(shared))
        for place, head in enumerate(self.heads):
            write(
                folder / f"task_{place}.npz",
                head=values_of(head.weights),
                own=self.kept[place],
            )


def probe_of(
    backbone: keras.Model, data: Prepared
) -> tuple[np.ndarray, np.ndarray]:
    """Returns kernel and bias of a linear probe, from which a head starts.

    It is that of PackNet, on the same images; see `PackNet.fit_head`.

    Args:
        backbone: A plain network, as it is before the task is trained.
        data: The task's data.
    """
    batches = training_images(data, linear_probe.MOST_IMAGES)
    images = batches.map(lambda image, _: image)
    features = backbone.predict(images, verbose=0)
    labels = np.concatenate([label for _, label in batches])
    return linear_probe.solve(features, labels, len(data.class_names))


def values_of(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    """Returns copies of the values of variables."""
    return [np.array(variable) for variable in variables]


def assign(
    variables: Sequence[keras.Variable], values: Sequence[np.ndarray]
) -> None:
    """Gives variables their values."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def set_trainable(variables: Sequence[keras.Variable], trained: bool) -> None:
    """Lets variables be trained, or not."""
    for variable in variables:
        variable.trainable = trained


def write(path: pathlib.Path, **arrays: Sequence[np.ndarray]) -> None:
    """Writes arrays to a file as they are, without compression.

    Args:
        path: The file; not written without arrays.
        **arrays: The arrays, by kind.
    """
    content = {
        f"{kind}_{i}": value
        for kind, values in arrays.items()
        for i, value in enumerate(values)
    }
    if content:
        np.savez(path, **content)  # type: ignore[arg-type]
