"""The phases of a task, run on data and resumable: what the apps call.

Every function here can be interrupted at any moment and called again with
the same options: packed states are whole or absent, and a phase in progress
goes on after its last finished epoch, to the same bytes.
"""

import pathlib
import time
from collections.abc import Callable

import keras

from packnet_tf.console import clock
from packnet_tf.errors import CapacityError, PhaseError
from packnet_tf.model.packnet import PackNet
from packnet_tf.options import fractions
from packnet_tf.options.task import TaskOptions
from packnet_tf.storage import checkpoints
from packnet_tf.storage.checkpoints import Pruning, TrainingRecord
from packnet_tf.tf_internals import layers_of
from packnet_tf.workflow import preflight
from packnet_tf.workflow.datasets import Prepared
from packnet_tf.workflow.metrics import accuracy
from packnet_tf.workflow.schedules import make_optimizer
from packnet_tf.workflow.train_loop import run_epochs

Say = Callable[[str], None]


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
        self.record = TrainingRecord(
            options.task, images=preflight.facts_of_images(data.facts)
        )

    def run(self, *, again: bool = False) -> TrainingRecord:
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
            self.record = preflight.begun_again(self.record)
        preflight.check_phases(self.options, self.record)
        if "prune" in self.options.phases:
            preflight.check_pruning(self.record, self.options, self._fraction())
        for phase in self.options.phases:
            if phase in self.record.done:
                self._say(f"  {phase}: done before")
                continue
            getattr(self, f"_{phase}")()
        return self.record

    def _begin(self) -> None:
        """Adds the task, and takes up its checkpoint where there is one."""
        found = checkpoints.read_record(self._folder)
        net, options = self.net, self.options
        preflight.check_task_in_training(found, options.task, self._folder)
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
        preflight.check_settings(found, options)
        preflight.check_images(found, self.data.facts)
        diverged, self.record = found.diverged, found
        found.diverged = False
        # The optimizer of the phase has to be there before its slots.
        if found.phase in ("train", "retrain"):
            self._compile(found.phase)
        checkpoints.restore(self._folder, net)
        if diverged and found.phase:
            # It goes on at the learning rate that is asked for now.
            found.settings[found.phase] = options.settings(found.phase)
            if options.schedule == "constant":
                net.optimizer.learning_rate = self._peak(found.phase)
        where = found.phase or ", ".join(found.done)
        self._say(f"  going on after {where}, epoch {found.epoch}")

    def _compile(self, phase: str) -> None:
        options = self.options
        first = options.train_epochs * self.data.steps
        second = options.epochs_to_retrain * self.data.steps
        if phase == "train":
            before, steps, after = 0, first, second
        else:
            before, steps, after = first, second, 0
        self.net.compile(
            make_optimizer(
                options.optimizer,
                options.schedule,
                self._peak(phase),
                steps,
                options.weight_decay,
                before=before,
                after=after,
                warmup_share=options.warmup_share,
            ),
            # MixUp and CutMix give shares of the classes as labels.
            self.data.train.loss,
            metrics=["accuracy"],
        )

    def _peak(self, phase: str) -> float:
        if phase == "train":
            return self.options.learning_rate
        return self.options.retrain_learning_rate

    def _train(self) -> None:
        layers = layers_of(self.net.backbone)
        if self.options.learning_rate == TaskOptions.learning_rate and not any(
            isinstance(layer, keras.layers.BatchNormalization)
            for layer in layers
        ):
            self._say(
                "  note: the default learning rate suits networks with batch "
                "normalization, and this one has none; if it does not learn, "
                "begin with --learning_rate=1e-4 --retrain_learning_rate=1e-4"
            )
        self._epochs("train", self.options.train_epochs)
        self._note("accuracy_trained", self._validate())
        self._finish("train")

    def _prune(self) -> None:
        net, options = self.net, self.options
        fraction = self._fraction()
        start = time.monotonic()
        steps = options.gradual_steps
        # The retrain phase follows what is recorded here, whatever options
        # the command that retrains has.
        how = {"scope": options.scope, "granularity": options.granularity}
        self.record.gradual = []
        if fraction == 0.0:
            self._say("  prune: the last of the planned tasks keeps all")
        elif steps:
            self._say(
                f"  prune: {fraction:.1%}, over the first {steps} epochs of "
                "retraining"
            )
            self.record.gradual = fractions.gradual_fractions(fraction, steps)
        else:
            net.prune(fraction, **how)
            self._note("accuracy_pruned", self._validate())
        self.record.pruning.append(
            Pruning(fraction, options.scope, options.granularity, steps)
        )
        self.record.seconds["prune"] = time.monotonic() - start
        self._note("prune_fraction", fraction)
        self._finish("prune")

    def _fraction(self) -> float:
        options = self.options
        return fractions.parse_fraction(
            options.prune_fraction, self._number, options.planned_tasks
        )

    def _retrain(self) -> None:
        self._epochs("retrain", self.options.retrain_epochs)
        self._note("accuracy_retrained", self._validate())
        self._finish("retrain")

    def _pack(self) -> None:
        self.net.pack()
        self.record.done.append("pack")

    def _epochs(self, phase: str, epochs: int) -> None:
        record, options = self.record, self.options
        if record.phase != phase:
            record.phase, record.epoch = phase, 0
            record.settings[phase] = options.settings(phase)
            self._compile(phase)
            keras.utils.set_random_seed(options.seed)
        gradual = record.gradual if phase == "retrain" else []
        if len(gradual) > epochs:
            raise PhaseError(
                f"The prune phase planned {len(gradual)} epochs of gradual "
                f"pruning, but --retrain_epochs={epochs}; retrain at least "
                "as long."
            )
        run_epochs(
            self.net,
            record,
            epochs,
            lambda epoch: self._data_of(phase, epoch),
            steps=self.data.steps,
            folder=self._folder,
            log_folder=self._log_folder,
            gradual=gradual,
            how=_ranking(record),
            score=self._validate,
        )

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
            self.record.metrics[name] = value

    def _finish(self, phase: str) -> None:
        self.record.done.append(phase)
        self.record.phase, self.record.epoch = None, 0
        checkpoints.save(self._folder, self.net, self.record)
        took = clock(self.record.seconds.get(phase, 0.0))
        key = {"train": "trained", "prune": "pruned"}.get(phase, "retrained")
        share = self.record.metrics.get(f"accuracy_{key}")
        shown = "" if share is None else f", validation {share:.4f}"
        self._say(f"  {self.options.task} {phase}: {took} min{shown}")


def _ranking(record: TrainingRecord) -> dict[str, str]:
    """Returns the scope and granularity that the prune phase recorded."""
    if not record.pruning:
        return {}
    how = record.pruning[-1]
    return {"scope": how.scope, "granularity": how.granularity}
