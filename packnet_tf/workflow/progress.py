"""Progress of a phase on the terminal and in TensorBoard."""

import os
import sys
import time
from collections.abc import Mapping

import keras
import tensorflow as tf


class PhaseProgress(keras.callbacks.Callback):
    """Shows one phase: a bar in each epoch, a line for it, time left.

    On a terminal the bar moves; elsewhere (a log file) each epoch is one
    line. The `fit` calls it goes with run one epoch each.

    Args:
        title: What the lines begin with.
        epochs: Epochs of the whole phase.
        steps: Steps of an epoch.
        done: Epochs that ran before, when a phase is resumed.
        log_folder: TensorBoard folder, or None.
    """

    def __init__(
        self,
        title: str,
        epochs: int,
        steps: int,
        done: int = 0,
        log_folder: str | os.PathLike[str] | None = None,
    ):
        super().__init__()
        self._title = title
        self._epochs = epochs
        self._steps = steps
        self._first = done
        self._done = done
        self._start = time.monotonic()
        self._terminal = sys.stdout.isatty()
        self._writer = None
        if log_folder is not None:
            self._writer = tf.summary.create_file_writer(str(log_folder))

    def on_train_batch_end(self, batch, logs=None):
        if self._terminal:
            share = min((batch + 1) / self._steps, 1.0)
            filled = int(20 * share)
            bar = "=" * filled + "." * (20 - filled)
            sys.stdout.write(f"\r{self._head(self._done + 1)} [{bar}]")
            sys.stdout.flush()

    def end_epoch(self, figures: Mapping[str, float]) -> None:
        """Prints an epoch's line and logs its figures.

        Args:
            figures: Names and values, e.g. of the losses and accuracies.
        """
        self._done += 1
        elapsed = time.monotonic() - self._start
        left = elapsed / (self._done - self._first)
        left *= self._epochs - self._done
        text = "  ".join(f"{n} {value:.4f}" for n, value in figures.items())
        line = f"{self._head(self._done)}  {text}  left {clock(left)}"
        sys.stdout.write(f"\r{line}\n" if self._terminal else f"{line}\n")
        sys.stdout.flush()
        if self._writer is not None:
            with self._writer.as_default(step=self._done):
                for name, value in figures.items():
                    tf.summary.scalar(f"{self._title}/{name}", value)
            self._writer.flush()

    def _head(self, epoch: int) -> str:
        return f"  {self._title:<24} epoch {epoch:>3}/{self._epochs}"


def clock(seconds: float) -> str:
    """Returns a duration as minutes and seconds, e.g. `2:05`."""
    minutes, rest = divmod(int(round(seconds)), 60)
    return f"{minutes}:{rest:02d}"
