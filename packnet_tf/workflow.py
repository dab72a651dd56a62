"""The phases of a task, run on data and resumable: what the apps call.

Every function here can be interrupted at any moment and called again with
the same options: packed states are whole or absent, and a phase in progress
goes on after its last finished epoch, to the same bytes.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from packnet_tf import admission, checkpoints, pruning
from packnet_tf.data import pipeline, splits
from packnet_tf.data.strong import Augmentation
from packnet_tf.data.tasks import TaskData
from packnet_tf.errors import (
    CapacityError,
    DataError,
    PackNetError,
    PhaseError,
)
from packnet_tf.model import PackNet
from packnet_tf.options import TaskOptions
from packnet_tf.progress import PhaseProgress, clock
from packnet_tf.schedules import make_optimizer

Say = Callable[[str], None]


@dataclasses.dataclass
class Prepared:
    """A task's data, split and ready to train on.

    Attributes:
        name: The task's name.
        class_names: Names in the order of the labels.
        train: The training pipeline: `train.epoch(n)` is a data set.
        steps: Steps of an epoch.
        validation: Evaluation data set, or None.
        facts: What the manifest records of the data.
    """

    name: str
    class_names: tuple[str, ...]
    train: Any
    steps: int
    validation: Any
    facts: dict[str, Any]


def prepare(
    data: TaskData, image_size: int, options: TaskOptions
) -> Prepared:
    """Splits a task's data and builds its pipelines.

    The validation images come out of the training split. The test split is
    not in the result: no phase can read it (see `prepare_test`).

    Args:
        data: The opened task.
        image_size: Height and width in pixels.
        options: Batch size, validation share and seed.
    """
    if data.train is None:
        raise DataError(
            f"The data of task {data.name!r} has no training images."
        )
    train, validation = splits.split(
        data.train, options.validation_share, options.seed
    )
    augmentation = Augmentation.parse(options.augment)
    training = pipeline.training(
        train,
        image_size,
        options.batch_size,
        options.seed,
        data.preprocessing,
        augmentation=augmentation,
    )
    return Prepared(
        name=data.name,
        class_names=tuple(data.class_names),
        train=training,
        steps=training.steps,
        validation=(
            _evaluation(validation, data, image_size, options)
            if len(validation)
            else None
        ),
        facts={
            "classes": data.classes,
            "train": len(train),
            "validation": len(validation),
            "test": 0 if data.test is None else len(data.test),
            **data.facts,
            **augmentation.to_facts(),
        },
    )


def prepare_test(data: TaskData, image_size: int, options: TaskOptions) -> Any:
    """Returns the evaluation data set of the test split, or None.

    Args:
        data: The opened task.
        image_size: Height and width in pixels.
        options: Batch size.
    """
    if data.test is None:
        return None
    return _evaluation(data.test, data, image_size, options)


def _evaluation(source, data, image_size, options):
    return pipeline.evaluation(
        source, image_size, options.batch_size, data.preprocessing
    )


def forecast(free: float, fraction: float) -> str:
    """Returns a line on what a task will take and leave, before it begins.

    Args:
        free: Share of the weights that is free now.
        fraction: Share of those that the task will free again.
    """
    left = free * fraction
    more = 0
    rest = left
    while rest * (1 - fraction) >= 0.001 and more < 200:
        more += 1
        rest *= fraction
    return (
        f"Capacity: {free:.1%} of the weights are free; this task keeps "
        f"{free * (1 - fraction):.1%} and leaves {left:.1%}: room for "
        f"{more} more task(s) that each keep 0.1% or more at this fraction."
    )


class TaskRun:
    """One task on its way through the phases.

    Args:
        net: The newest packed state's network, or a new one; built in its
            strategy's scope.
        data: The task's data.
        options: How to train it.
        folder: Folder of the checkpoint.
        log_folder: TensorBoard folder, or None.
        say: Where lines of progress go.
        number: Which of the added tasks this is, from 1, the base task not
            counted: the n-th takes the n-th of a list of fractions.
    """

    def __init__(
        self,
        net: PackNet,
        data: Prepared,
        options: TaskOptions,
        folder: pathlib.Path,
        log_folder: pathlib.Path | None = None,
        say: Say = print,
        number: int = 1,
    ):
        self.net = net
        self.data = data
        self.options = options
        self._folder = folder
        self._log_folder = log_folder
        self._say = say
        self._number = number
        self.record: dict[str, Any] = {
            "name": options.task,
            "phase": None,
            "epoch": 0,
            "done": [],
            "metrics": {},
            "seconds": {},
            "history": [],
        }

    def run(self, *, again: bool = False) -> dict[str, Any]:
        """Runs the phases that are asked for and not yet done.

        Args:
            again: Whether a prune phase that was followed by a retrain phase
                begins another round of the two.

        Returns:
            The record: phases done, metrics, seconds and history. If
            `"pack"` is among its phases, `net` is packed but not on disk.
        """
        self._begin()
        if again:
            self.record = admission.begun_again(self.record)
        admission.check_phases(self.options, self.record)
        for phase in self.options.phases:
            if phase in self.record["done"]:
                self._say(f"  {phase}: done before")
                continue
            getattr(self, f"_{phase}")()
        return self.record

    def _begin(self) -> None:
        """Adds the task, and takes up its checkpoint where there is one."""
        found = checkpoints.read_record(self._folder)
        net, options = self.net, self.options
        admission.check_task_in_training(found, options.task, self._folder)
        fresh = net.newest is None or net.newest.packed
        if fresh:
            if net.tasks and net.capacity == 0.0:
                raise CapacityError(
                    f"No free weights are left for {options.task!r}; go back "
                    "to a packed state before the last task and prune more "
                    "there."
                )
            net.add_task(
                options.task,
                len(self.data.class_names),
                class_names=self.data.class_names,
                origin=options.origin,
                seed=options.seed,
            )
        if found is None:
            return
        self.record = found
        # The optimizer of the phase has to be there before its slots.
        if found["phase"] in ("train", "retrain"):
            self._compile(found["phase"])
        checkpoints.restore(self._folder, net)
        where = found["phase"] or ", ".join(found["done"])
        self._say(f"  going on after {where}, epoch {found['epoch']}")

    def _compile(self, phase: str) -> None:
        options = self.options
        train = phase == "train"
        epochs = options.train_epochs if train else options.retrain_epochs
        peak = (
            options.learning_rate if train else options.retrain_learning_rate
        )
        self.net.compile(
            make_optimizer(
                options.optimizer,
                options.schedule,
                peak,
                epochs * self.data.steps,
                options.weight_decay,
            ),
            # MixUp and CutMix give shares of the classes as labels.
            self.data.train.loss,
            metrics=["accuracy"],
        )

    def _train(self) -> None:
        self._epochs("train", self.options.train_epochs)
        self._note("accuracy_trained", self._validate())
        self._finish("train")

    def _prune(self) -> None:
        net, options = self.net, self.options
        fraction = pruning.parse_fraction(
            options.prune_fraction, self._number, options.planned_tasks
        )
        start = time.monotonic()
        steps = options.gradual_steps
        # The retrain phase follows what is recorded here.
        self.record["gradual"] = []
        if fraction == 0.0:
            self._say("  prune: the last of the planned tasks keeps all")
        elif steps:
            self._say(
                f"  prune: {fraction:.1%}, over the first {steps} epochs of "
                "retraining"
            )
            self.record["gradual"] = pruning.gradual_fractions(fraction, steps)
        else:
            net.prune(fraction, scope=options.scope)
            self._note("accuracy_pruned", self._validate())
        self.record["seconds"]["prune"] = time.monotonic() - start
        self._note("prune_fraction", fraction)
        self._finish("prune")

    def _retrain(self) -> None:
        self._epochs("retrain", self.options.retrain_epochs)
        self._note("accuracy_retrained", self._validate())
        self._finish("retrain")

    def _pack(self) -> None:
        self.net.pack()
        self.record["done"].append("pack")

    def _epochs(self, phase: str, epochs: int) -> None:
        record, net = self.record, self.net
        if record["phase"] != phase:
            record["phase"], record["epoch"] = phase, 0
            self._compile(phase)
            keras.utils.set_random_seed(self.options.seed)
        gradual = []
        if phase == "retrain":
            gradual = record.get("gradual", [])
            if len(gradual) > epochs:
                raise PhaseError(
                    f"The prune phase planned {len(gradual)} epochs of "
                    f"gradual pruning, but --retrain_epochs={epochs}; retrain "
                    "at least as long."
                )
        progress = PhaseProgress(
            f"{self.options.task} {phase}",
            epochs,
            self.data.steps,
            done=record["epoch"],
            log_folder=self._log_folder,
        )
        seconds = record["seconds"].get(phase, 0.0)
        while record["epoch"] < epochs:
            epoch = record["epoch"]
            start = time.monotonic()
            if epoch < len(gradual):
                net.prune_to(gradual[epoch], scope=self.options.scope)
            history = net.fit(
                self._data_of(phase, epoch),
                verbose=0,
                shuffle=False,
                callbacks=[progress],
            ).history
            figures = {name: values[-1] for name, values in history.items()}
            _check_finite(figures, phase, epoch, net.optimizer)
            share = self._validate()
            if share is not None:
                figures["val_accuracy"] = share
            seconds += time.monotonic() - start
            record["epoch"] = epoch + 1
            record["seconds"][phase] = seconds
            record["history"].append(
                {"phase": phase, "epoch": epoch + 1, **figures}
            )
            checkpoints.save(self._folder, net, record)
            progress.end_epoch(figures)

    def _data_of(self, phase: str, epoch: int):
        # The phases follow each other in the order and augmentation of the
        # images too.
        shift = self.options.train_epochs if phase == "retrain" else 0
        return self.data.train.epoch(shift + epoch)

    def _validate(self) -> float | None:
        if self.data.validation is None:
            return None
        return accuracy(self.net, self.data.validation)

    def _note(self, name: str, value: float | None) -> None:
        if value is not None:
            self.record["metrics"][name] = value

    def _finish(self, phase: str) -> None:
        self.record["done"].append(phase)
        self.record["phase"], self.record["epoch"] = None, 0
        checkpoints.save(self._folder, self.net, self.record)
        took = clock(self.record["seconds"].get(phase, 0.0))
        key = {"train": "trained", "prune": "pruned"}.get(phase, "retrained")
        accuracy = self.record["metrics"].get(f"accuracy_{key}")
        shown = "" if accuracy is None else f", validation {accuracy:.4f}"
        self._say(f"  {self.options.task} {phase}: {took} min{shown}")


def accuracy(net: PackNet, dataset) -> float:
    """Returns the active task's share of right answers, from 0 to 1.

    Args:
        net: The network.
        dataset: Batches of (image, label).
    """
    # Through `predict`, which knows how to share batches between replicas.
    scores = net.predict(dataset.map(lambda image, _: image), verbose=0)
    labels = [np.asarray(label) for _, label in dataset]
    if not labels:
        return 0.0
    return float(np.mean(np.argmax(scores, -1) == np.concatenate(labels)))


def _check_finite(figures, phase, epoch, optimizer) -> None:
    if not np.isfinite(figures.get("loss", 0.0)):
        rate = float(np.asarray(optimizer.learning_rate))
        raise PackNetError(
            f"The loss became {figures['loss']} in epoch {epoch + 1} of the "
            f"{phase} phase, at learning rate {rate:.2g}; run again with a "
            "lower one. The last good epoch is kept."
        )
