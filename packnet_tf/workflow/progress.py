"""Shows the progress of a phase on the terminal and in TensorBoard."""

import contextlib
import os
import time
from collections.abc import Iterator, Mapping

import keras
import tensorflow as tf

from packnet_tf import console


class PhaseProgress(keras.callbacks.Callback):
    """Shows one phase: a bar during each epoch, then a line with time left.

    The bar appears only on terminals; a log file gets one line per epoch.
    Each `fit` call with this callback runs one epoch.

    Args:
        title: The start of each line.
        epochs: Epochs of the whole phase.
        steps: Steps per epoch.
        done: Epochs already finished, when a phase is resumed.
        log_folder: TensorBoard folder, or None.
        shown: Whether to show and log anything.
    """

    def __init__(
        self,
        title: str,
        epochs: int,
        steps: int,
        done: int = 0,
        log_folder: str | os.PathLike[str] | None = None,
        shown: bool = True,
    ):
        super().__init__()
        self._title = title
        self._epochs = epochs
        self._steps = steps
        self._first = done
        self._done = done
        self._start = time.monotonic()
        self._report: console.Report = lambda done, total: None
        self._shown = shown
        self._writer = None
        if log_folder is not None and shown:
            self._writer = tf.summary.create_file_writer(str(log_folder))

    def on_train_batch_end(self, batch, logs=None):
        self._report(batch + 1, self._steps)

    @contextlib.contextmanager
    def bar(self) -> Iterator[None]:
        """Shows the bar of an epoch while it is open."""
        if not self._shown:
            yield
            return
        head = self._head(self._done + 1)
        with console.bar(head.strip(), keep=False) as self._report:
            yield

    def end_epoch(self, figures: Mapping[str, float]) -> None:
        """Prints an epoch's line and logs its figures.

        Args:
            figures: Names and values, e.g. of the losses and accuracies.
        """
        self._done += 1
        if not self._shown:
            return
        elapsed = time.monotonic() - self._start
        left = elapsed / (self._done - self._first)
        left *= self._epochs - self._done
        text = "  ".join(f"{n} {value:.4f}" for n, value in figures.items())
        line = f"{self._head(self._done)}  {text}  left {console.clock(left)}"
        print(line, flush=True)
        if self._writer is not None:
            with self._writer.as_default(step=self._done):
                for name, value in figures.items():
                    tf.summary.scalar(f"{self._title}/{name}", value)
            self._writer.flush()

    def _head(self, epoch: int) -> str:
        return f"  {self._title:<24} epoch {epoch:>3}/{self._epochs}"
