"""Trains a plain model on one task, with the budget of a comparison."""

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from packnet_tf.compare.cell import Cell
from packnet_tf.errors import DivergedError
from packnet_tf.workflow.progress import PhaseProgress
from packnet_tf.workflow.schedules import make_optimizer

Penalty = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Penalized(keras.Model):
    """A functional model whose loss may have one more term.

    Attributes:
        classes: How many of the first outputs are the scores of the task
            that is trained; None for all of them.
        penalty: Called with the images and the outputs after those; returns
            what is added to the loss.
    """

    classes: int | None = None
    penalty: Penalty | None = None

    def compute_loss(self, x=None, y=None, y_pred=None, *args, **kwargs):
        """Returns the loss with the penalty."""
        scores = y_pred[:, : self.classes]
        loss = super().compute_loss(x, y, scores, *args, **kwargs)
        if self.penalty is not None:
            rest = y_pred[:, scores.shape[-1] :]
            loss += tf.cast(self.penalty(x, rest), loss.dtype)
        return loss

    def compute_metrics(self, x, y, y_pred, *args, **kwargs):
        """Returns the metrics of the task that is trained."""
        scores = y_pred[:, : self.classes]
        return super().compute_metrics(x, y, scores, *args, **kwargs)


def train(
    model: keras.Model,
    cell: Cell,
    title: str,
    batches: Callable[[int], tf.data.Dataset],
    steps: int,
    loss: Any,
    *,
    epochs: int | None = None,
    first: int = 0,
) -> None:
    """Trains what is trainable in a model.

    Optimizer and schedule are those of the comparison; the learning rate
    falls over the whole budget, of which this may be a part.

    Args:
        model: The model.
        cell: The budget, the learning rate and the seed.
        title: What is trained, for the progress shown.
        batches: Returns the batches of an epoch, counted from 0.
        steps: Batches of an epoch.
        loss: The Keras loss.
        epochs: How many epochs; by default all of the budget.
        first: Epochs of the budget that are over.

    Raises:
        DivergedError: If the loss or a weight is NaN or infinite.
    """
    options = cell.options
    epochs = cell.epochs if epochs is None else epochs
    rest = cell.epochs - first - epochs
    model.compile(
        make_optimizer(
            options.optimizer,
            options.schedule,
            options.learning_rate,
            epochs * steps,
            options.weight_decay,
            before=first * steps,
            after=rest * steps,
            warmup_share=options.warmup_share,
        ),
        loss,
        metrics=["accuracy"],
        # As a PackNet is compiled.
        jit_compile=False,
    )
    progress = PhaseProgress(title, epochs, steps)
    for epoch in range(first, first + epochs):
        with progress.bar():
            history = model.fit(
                batches(epoch), verbose=0, shuffle=False, callbacks=[progress]
            ).history
        figures = {name: values[-1] for name, values in history.items()}
        _check_finite(model, figures["loss"])
        progress.end_epoch(figures)


def _check_finite(model: keras.Model, loss: float) -> None:
    whole = math.isfinite(loss) and all(
        bool(tf.reduce_all(tf.math.is_finite(variable.value)))
        for variable in model.weights
        if keras.backend.is_float_dtype(variable.dtype)
    )
    if not whole:
        raise DivergedError("The loss or a weight became NaN or infinite.")
