"""The epochs of one phase: trained, scored, checkpointed, one by one."""

import math
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.errors import PackNetError
from packnet_tf.model.packnet import PackNet
from packnet_tf.storage import checkpoints
from packnet_tf.storage.checkpoints import TrainingRecord
from packnet_tf.workflow.progress import PhaseProgress


def run_epochs(
    net: PackNet,
    record: TrainingRecord,
    epochs: int,
    batches: Callable[[int], Any],
    *,
    steps: int,
    folder: pathlib.Path,
    log_folder: pathlib.Path | None = None,
    gradual: Sequence[float] = (),
    how: Mapping[str, str] = MappingProxyType({}),
    score: Callable[[], float | None] = lambda: None,
) -> None:
    """Trains the phase that the record is in, up to its last epoch.

    Goes on after the epochs that the record counts, and writes a checkpoint
    after each.

    Args:
        net: The network, compiled for the phase.
        record: What has been done; kept up to date.
        epochs: Epochs of the whole phase.
        batches: Gives the training batches of an epoch, from 0.
        steps: Batches of an epoch.
        folder: Folder of the checkpoint.
        log_folder: TensorBoard folder, or None.
        gradual: Fractions to prune to, before the first epochs.
        how: Scope and granularity of that; see `PackNet.prune`.
        score: Gives the validation accuracy after an epoch, or None.

    Raises:
        PackNetError: If the loss or a weight is not finite, naming the step
            and the learning rate; the checkpoint of the epoch before stays.
    """
    phase = record.phase or ""
    progress = PhaseProgress(
        f"{record.name} {phase}",
        epochs,
        steps,
        done=record.epoch,
        log_folder=log_folder,
    )
    seconds = record.seconds.get(phase, 0.0)
    while record.epoch < epochs:
        epoch = record.epoch
        start = time.monotonic()
        if epoch < len(gradual):
            net.prune_to(gradual[epoch], **how)
        with progress.bar():
            history = net.fit(
                batches(epoch),
                verbose=0,
                shuffle=False,
                callbacks=[progress, _FiniteLoss(folder, record)],
            ).history
        _check_weights(net, folder, record)
        figures = {name: values[-1] for name, values in history.items()}
        share = score()
        if share is not None:
            figures["val_accuracy"] = share
        seconds += time.monotonic() - start
        record.epoch = epoch + 1
        record.seconds[phase] = seconds
        record.history.append({"phase": phase, "epoch": epoch + 1, **figures})
        checkpoints.save(folder, net, record)
        progress.end_epoch(figures)


class _FiniteLoss(keras.callbacks.Callback):
    """Stops at the first step whose loss is NaN or infinite.

    Keras has turned the running mean of the loss into a number anyway, for
    the progress bar; looking at it costs nothing.
    """

    def __init__(self, folder: pathlib.Path, record: TrainingRecord):
        super().__init__()
        self._folder = folder
        self._record = record

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss", 0.0)
        if math.isfinite(loss):
            return
        _stop(
            self.model,
            self._folder,
            self._record,
            f"The loss became {loss} in step {batch + 1} of",
        )


def _check_weights(
    net: PackNet, folder: pathlib.Path, record: TrainingRecord
) -> None:
    """Refuses weights that the last step, whose loss was finite, broke."""
    for variable in net.variables:
        if keras.backend.is_float_dtype(variable.dtype) and not (
            tf.reduce_all(tf.math.is_finite(variable.value))
        ):
            what = f"{variable.path} holds what is no number after"
            _stop(net, folder, record, what)


def _stop(
    net: PackNet, folder: pathlib.Path, record: TrainingRecord, what: str
) -> NoReturn:
    phase, epoch = record.phase or "", record.epoch
    rate = float(np.asarray(net.optimizer.learning_rate))
    checkpoints.mark_diverged(folder, record)
    raise PackNetError(
        f"{what} epoch {epoch + 1} of the {phase} phase, at learning rate "
        f"{rate:.2g}; what was trained before that epoch is kept. "
        f"{_lower(phase)}"
    )


def _lower(phase: str) -> str:
    """Returns what to do with a learning rate that is too high."""
    if phase == "recovery":
        return "Begin another workdir with a lower --base_learning_rate."
    flag = "learning_rate" if phase == "train" else "retrain_learning_rate"
    return f"Run the same command again with a lower --{flag}."
