"""Runs the phases of one task: train, prune, retrain, pack.

A run can be interrupted at any time and restarted with the same options: the
phase in progress continues after its last finished epoch, to the same bytes.
"""

import dataclasses
import time
from typing import Any

import keras

from packnet_tf.console import clock
from packnet_tf.errors import PhaseError
from packnet_tf.model import linear_probe
from packnet_tf.options import fractions
from packnet_tf.options.task import RATES, TaskOptions
from packnet_tf.storage import checkpoints
from packnet_tf.storage.checkpoints import Pruning, TrainingRecord
from packnet_tf.tf_internals.layers import layers_of
from packnet_tf.workflow import auto_fraction, preflight
from packnet_tf.workflow.datasets import Prepared
from packnet_tf.workflow.fit_images import saying_warnings, training_images
from packnet_tf.workflow.metrics import accuracy
from packnet_tf.workflow.schedules import make_optimizer
from packnet_tf.workflow.train_loop import Training, run_epochs


@dataclasses.dataclass
class TaskRun(Training):
    """One task on its way through the phases.

    Its network is that of the newest packed state, or a new one, built in its
    strategy's scope.

    Attributes:
        data: The task's data.
        options: How to train it.
        number: The number of the added task, from 1, without the base task;
            the n-th task takes the n-th of a list of fractions.
    """

    data: Prepared = dataclasses.field(kw_only=True)
    options: TaskOptions = dataclasses.field(kw_only=True)
    number: int = dataclasses.field(default=1, kw_only=True)

    @property
    def fraction(self) -> float:
        """The fraction of this task's weights to prune, 0 if not known yet."""
        if self.options.finds_fraction:
            before = self.record.pruning
            return before[-1].fraction if before else 0.0
        return fractions.parse_fraction(
            self.options.prune_fraction, self.number, self.options.planned_tasks
        )

    @property
    def fit_images(self) -> Any:
        """Images to fit what pruning leaves on, or None to leave it."""
        if not self.options.reconstruct:
            return None
        number = self.options.reconstruct_images
        return training_images(self.data, number)

    def peak(self, phase: str) -> float:
        """Returns the highest learning rate of a phase.

        Where the options have none for the retrain phase, it is the one that
        the phase began with, or else a quarter of that of the train phase.
        """
        options, before = self.options, self.record.settings
        if phase == "train":
            return options.learning_rate
        if options.retrain_learning_rate is not None:
            return options.retrain_learning_rate
        began = before.get("retrain", {}).get(RATES["retrain"])
        if began is not None:
            return float(began)
        trained = before.get("train", {}).get(RATES["train"])
        return float(trained or options.learning_rate) / 4

    @property
    def resolved(self) -> TaskOptions:
        """The options, with the rate at which this task is retrained."""
        return dataclasses.replace(
            self.options, retrain_learning_rate=self.peak("retrain")
        )


def run_phases(run: TaskRun, *, again: bool = False) -> TrainingRecord:
    """Runs the requested phases that are not done yet.

    Args:
        run: The run with a new record, which a checkpoint's record replaces.
        again: Whether to prune and retrain once more after both are done.

    Returns:
        The record. If `"pack"` is among its phases, the network is packed
        but not on disk.

    Raises:
        PackNetError: Saying in one line what is wrong and what to do.
    """
    _begin(run)
    if again:
        run.record = preflight.begun_again(run.record)
    preflight.check_phases(run.options, run.record)
    if "prune" in run.options.phases:
        preflight.check_pruning(run.record, run.options, run.fraction)
    for phase in run.options.phases:
        if phase in run.record.done:
            run.say(f"  {phase}: done before")
        else:
            _PHASES[phase](run)
    return run.record


def _begin(run: TaskRun) -> None:
    """Adds the task, and restores its checkpoint if there is one."""
    net, options = run.net, run.options
    found = checkpoints.read_record(run.folder)
    preflight.check_task_in_training(found, options.task, run.folder)
    if net.newest is None or net.newest.packed:
        with saying_warnings(run.say):
            net.add_task(
                options.task,
                len(run.data.class_names),
                class_names=run.data.class_names,
                origin=options.origin,
                reads=options.reads,
                seed=options.seed,
                # A checkpoint has the start, and what became of it.
                images=_start_images(run) if found is None else None,
            )
    if found is None:
        run.record.images = preflight.facts_of_images(run.data.facts)
        # A network that is not trained yet has no features worth probing.
        if options.head_start == "probe" and len(net.tasks) > 1:
            _probe(run)
        return
    preflight.check_settings(found, options)
    preflight.check_images(found, run.data.facts, run.data.class_names)
    run.record = dataclasses.replace(found, diverged=False)
    # The phase's optimizer must exist before its slots are restored.
    if found.phase in ("train", "retrain"):
        _compile(run, found.phase)
    checkpoints.restore(run.folder, net)
    if found.diverged and found.phase:
        # It continues with the learning rate requested now.
        run.record.settings[found.phase] = run.resolved.settings(found.phase)
        if options.schedule == "constant":
            net.optimizer.learning_rate = run.peak(found.phase)
    where = found.phase or ", ".join(found.done)
    run.say(f"  going on after {where}, epoch {found.epoch}")


def _start_images(run: TaskRun) -> Any:
    """Returns what to fit the new task's start on, or None."""
    origins = ("auto", "pretrained")
    known = run.net.pretrained_kernels is not None
    return run.fit_images if known and run.options.origin in origins else None


def _probe(run: TaskRun) -> None:
    """Starts the head from a linear probe, which no task may end below."""
    run.net.fit_head(training_images(run.data, linear_probe.MOST_IMAGES))
    share = _validate(run)
    _note(run, "accuracy_probe", share)
    if share is not None:
        run.say(f"  {run.options.task} linear probe: validation {share:.4f}")


def _compile(run: TaskRun, phase: str) -> None:
    options = run.options
    first = options.train_epochs * run.data.train.steps
    second = options.epochs_to_retrain * run.data.train.steps
    if phase == "train":
        before, steps, after = 0, first, second
    else:
        before, steps, after = first, second, 0
    run.net.compile(
        make_optimizer(
            options.optimizer,
            options.schedule,
            run.peak(phase),
            steps,
            options.weight_decay,
            before=before,
            after=after,
            warmup_share=options.warmup_share,
        ),
        # MixUp and CutMix have soft labels.
        run.data.train.loss,
        metrics=["accuracy"],
    )


def _train(run: TaskRun) -> None:
    layers = layers_of(run.net.backbone)
    if run.options.learning_rate == TaskOptions.learning_rate and not any(
        isinstance(layer, keras.layers.BatchNormalization) for layer in layers
    ):
        run.say(
            "  note: the default learning rate suits networks with batch "
            "normalization, and this one has none; if it does not learn, "
            "begin with --learning_rate=1e-4 --retrain_learning_rate=1e-4"
        )
    _epochs(run, "train", run.options.train_epochs)
    _note(run, "accuracy_trained", _validate(run))
    _finish(run, "train")


def _prune(run: TaskRun) -> None:
    options, record = run.options, run.record
    start = time.monotonic()
    # The retrain phase follows this record, not the options of the command
    # that retrains.
    how = Pruning(
        run.fraction,
        options.scope,
        options.granularity,
        options.gradual_steps,
        options.points,
    )
    record.gradual = []
    if options.finds_fraction:
        with saying_warnings(run.say):
            fraction = auto_fraction.prune(run.net, run.data, options, run.say)
        how = dataclasses.replace(how, fraction=fraction)
        _note(run, "accuracy_pruned", _validate(run))
    elif how.fraction == 0.0:
        run.say("  prune: the last of the planned tasks keeps all")
    elif how.gradual_epochs:
        run.say(
            f"  prune: {how.fraction:.1%}, over the first "
            f"{how.gradual_epochs} epochs of retraining"
        )
        record.gradual = fractions.gradual_fractions(
            how.fraction, how.gradual_epochs
        )
    else:
        with saying_warnings(run.say):
            run.net.prune(
                how.fraction,
                scope=how.scope,
                granularity=how.granularity,
                images=run.fit_images,
            )
        _note(run, "accuracy_pruned", _validate(run))
    record.pruning.append(how)
    record.seconds["prune"] = time.monotonic() - start
    _note(run, "prune_fraction", how.fraction)
    _finish(run, "prune")


def _retrain(run: TaskRun) -> None:
    _epochs(run, "retrain", run.options.retrain_epochs)
    _note(run, "accuracy_retrained", _validate(run))
    _finish(run, "retrain")


def _pack(run: TaskRun) -> None:
    metrics = run.record.metrics
    probe = metrics.get("accuracy_probe", 0.0)
    last = "retrained" if "retrain" in run.record.done else "trained"
    share = metrics.get(f"accuracy_{last}", probe)
    if share < probe:
        run.say(
            f"  note: {run.options.task} ends at {share:.4f}, below its linear "
            f"probe ({probe:.4f}); a lower --learning_rate and "
            "--retrain_learning_rate, or more epochs, may keep what the "
            "features knew"
        )
    run.net.pack()
    run.record.done.append("pack")


_PHASES = {
    "train": _train,
    "prune": _prune,
    "retrain": _retrain,
    "pack": _pack,
}


def _epochs(run: TaskRun, phase: str, epochs: int) -> None:
    record, options = run.record, run.options
    if record.phase != phase:
        record.phase, record.epoch = phase, 0
        record.settings[phase] = run.resolved.settings(phase)
        _compile(run, phase)
        keras.utils.set_random_seed(options.seed)
    retrains = phase == "retrain"
    gradual = record.gradual if retrains else []
    if len(gradual) > epochs:
        raise PhaseError(
            f"The prune phase planned {len(gradual)} epochs of gradual "
            f"pruning, but --retrain_epochs={epochs}; retrain at least as "
            "long."
        )
    # Retraining continues the sequence of image orders and augmentations.
    shift = options.train_epochs if retrains else 0
    run_epochs(
        run,
        epochs,
        lambda epoch: run.data.train.epoch(shift + epoch),
        steps=run.data.train.steps,
        gradual=gradual,
        how=record.pruning[-1] if record.pruning else None,
        score=lambda: _validate(run),
    )


def _validate(run: TaskRun) -> float | None:
    if run.data.validation is None:
        return None
    return accuracy(run.net, run.data.validation)


def _note(run: TaskRun, name: str, value: float | None) -> None:
    if value is not None:
        run.record.metrics[name] = value


def _finish(run: TaskRun, phase: str) -> None:
    record = run.record
    record.done.append(phase)
    record.phase, record.epoch = None, 0
    run.save()
    took = clock(record.seconds.get(phase, 0.0))
    key = {"train": "trained", "prune": "pruned"}.get(phase, "retrained")
    share = record.metrics.get(f"accuracy_{key}")
    shown = "" if share is None else f", validation {share:.4f}"
    run.say(f"  {run.options.task} {phase}: {took} min{shown}")
