"""Trains, scores and checkpoints the epochs of one phase."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.errors import DivergedError
from packnet_tf.model import workers
from packnet_tf.model.packnet import PackNet
from packnet_tf.options.task import RATES
from packnet_tf.storage import checkpoints
from packnet_tf.storage.checkpoints import Pruning, TrainingRecord
from packnet_tf.workflow.progress import PhaseProgress

Say = Callable[[str], None]


@dataclasses.dataclass
class Training:
    """A task in training, with the folders of its checkpoint and logs.

    Attributes:
        net: The network.
        record: The work done, kept up to date.
        folder: Folder of the checkpoint.
        log_folder: TensorBoard folder, or None.
        say: Prints a line of progress.
    """

    net: PackNet
    record: TrainingRecord
    folder: pathlib.Path
    log_folder: pathlib.Path | None = None
    say: Say = print

    def save(self) -> None:
        """Writes the checkpoint."""
        checkpoints.save(self.folder, self.net, self.record)


def run_epochs(
    training: Training,
    epochs: int,
    batches: Callable[[int], Any],
    *,
    steps: int,
    gradual: Sequence[float] = (),
    how: Pruning | None = None,
    score: Callable[[], float | None] = lambda: None,
) -> None:
    """Trains the remaining epochs of the record's phase.

    A checkpoint is written after each epoch.

    Args:
        training: The task in training, its network compiled for the phase.
        epochs: Epochs of the whole phase.
        batches: Returns the training batches of an epoch, counted from 0.
        steps: Batches per epoch.
        gradual: Fractions to prune to before each of the first epochs.
        how: Has the scope and granularity of gradual pruning; by default
            those of `PackNet.prune`.
        score: Returns the validation accuracy after an epoch, or None.

    Raises:
        DivergedError: If the loss or a weight is not finite, naming the step
            and the learning rate; the previous checkpoint is kept.
    """
    net, record = training.net, training.record
    phase = record.phase or ""
    progress = PhaseProgress(
        f"{record.name} {phase}",
        epochs,
        steps,
        done=record.epoch,
        log_folder=training.log_folder,
        shown=workers.is_chief(net.distribute_strategy),
    )
    ranking = {}
    if how is not None:
        ranking = {"scope": how.scope, "granularity": how.granularity}
    seconds = record.seconds.get(phase, 0.0)
    while record.epoch < epochs:
        epoch = record.epoch
        start = time.monotonic()
        if epoch < len(gradual):
            net.prune_to(gradual[epoch], **ranking)
        with progress.bar():
            history = net.fit(
                batches(epoch),
                verbose=0,
                shuffle=False,
                callbacks=[progress, _FiniteLoss(training)],
            ).history
        _check_weights(training)
        figures = {name: values[-1] for name, values in history.items()}
        share = score()
        if share is not None:
            figures["val_accuracy"] = share
        seconds += time.monotonic() - start
        record.epoch = epoch + 1
        record.seconds[phase] = seconds
        record.history.append({"phase": phase, "epoch": epoch + 1, **figures})
        training.save()
        progress.end_epoch(figures)


class _FiniteLoss(keras.callbacks.Callback):
    """Stops at the first step whose loss is NaN or infinite.

    This costs nothing: Keras has converted the running mean of the loss to a
    number anyway, for its progress bar.
    """

    def __init__(self, training: Training):
        super().__init__()
        self._training = training

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            what = f"The loss became {loss} in step {batch + 1} of"
            _stop(self._training, what)


def _check_weights(training: Training) -> None:
    """Refuses weights that are not finite, though the last loss was."""
    for variable in training.net.variables:
        if keras.backend.is_float_dtype(variable.dtype) and not (
            tf.reduce_all(tf.math.is_finite(variable.value))
        ):
            what = f"{variable.path} holds NaN or infinity after"
            _stop(training, what)


def _stop(training: Training, what: str) -> NoReturn:
    phase, epoch = training.record.phase or "", training.record.epoch
    rate = float(np.asarray(training.net.optimizer.learning_rate))
    if workers.is_chief(training.net.distribute_strategy):
        checkpoints.mark_diverged(training.folder, training.record)
    raise DivergedError(
        f"{what} epoch {epoch + 1} of the {phase} phase, at learning rate "
        f"{rate:.2g}; what was trained before that epoch is kept. "
        f"{_lower(phase)}"
    )


def _lower(phase: str) -> str:
    """Returns the remedy for a learning rate that is too high."""
    if phase == "recovery":
        return "Begin another workdir with a lower --base_learning_rate."
    return f"Run the same command again with a lower --{RATES[phase]}."
