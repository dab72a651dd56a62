"""Private names of Keras's training loop."""

from typing import Any

import keras
import tensorflow as tf

from packnet_tf.tf_internals.layers import keras_mask, set_keras_mask


class TrainerHooks(keras.Model):
    """A model with public names for what Keras's loop keeps private."""

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Keras runs the whole model here to build it and its metrics. Ours is
        # built, and metrics are built as the step is traced, except under a
        # strategy, where variables cannot be made inside the replicas.
        strategy = self._distribute_strategy
        if strategy is None or all(
            part is None or part.built
            for part in (self._compile_metrics, self._compile_loss)
        ):
            return
        if iterator is not None:
            _, _, batches = next(iter(iterator))
            # One replica's part shows all that is asked for. (Keras takes
            # the mean over the replicas, which parts of unequal length,
            # such as 17 and 16 rows, do not have.)
            data_batch = tf.nest.map_structure(
                lambda part: strategy.experimental_local_results(part)[0],
                next(batches),
            )
        with strategy.scope():
            self._symbolic_build(data_batch=data_batch)

    def forget_objective(self) -> None:
        """Forgets loss and metrics, which `compile` without any would keep."""
        self.__dict__.update(
            loss=None, _compile_loss=None, _compile_metrics=None
        )

    def objective_metrics(self) -> list[Any]:
        """Returns the metrics given to `compile`, which compiling wraps."""
        metrics = self._compile_metrics
        if metrics is None:
            return []
        return [metrics._user_metrics, metrics._user_weighted_metrics]

    def objective(self, x, y, outputs, sample_weight) -> tf.Tensor:
        """Returns the loss, with or without `training` in `compute_loss`."""
        return self._compute_loss(
            x=x,
            y=y,
            y_pred=outputs,
            sample_weight=sample_weight,
            training=True,
        )

    def show_loss(self, loss: tf.Tensor, rows: tf.Tensor) -> None:
        """Puts a step's loss into the mean that Keras shows."""
        self._loss_tracker.update_state(loss, sample_weight=rows)

    def forget_first_epoch(self) -> None:
        """Lets the next `fit` begin at its own epoch.

        `BackupAndRestore` leaves the epoch where a run was resumed, from
        which every later `fit` would start.
        """
        self._initial_epoch = None


def loss_arguments(loss: Any) -> dict[str, Any]:
    """Returns the arguments of a Keras loss, such as `from_logits`."""
    return getattr(loss, "_fn_kwargs", {})


def hand_on_mask(source: Any, result: Any) -> None:
    """Gives a tensor the mask of padded steps of the one it was made of."""
    mask = keras_mask(source)
    if mask is not None and result is not source:
        set_keras_mask(result, mask)
