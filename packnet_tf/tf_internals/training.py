"""Private names of Keras's training loop."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from packnet_tf.tf_internals.layers import keras_mask, set_keras_mask
from packnet_tf.tf_internals.workers import are_several


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

    def _make_function(self, step_function):
        if not are_several(self.distribute_strategy):
            return super()._make_function(step_function)

        # With several workers Keras takes the mean of the logs along their
        # first axis, which a number has not.
        def step(data):
            logs = step_function(data)
            return tf.nest.map_structure(lambda log: log[None], logs)

        return super()._make_function(step)

    def forget_objective(self) -> None:
        """Forgets loss and metrics, which `compile` without any would keep."""
        self.__dict__.update(
            loss=None, _compile_loss=None, _compile_metrics=None
        )

    @property
    def objective_state(self) -> tuple[Any, Any, Any]:
        """What holds the state of loss and metrics, or None for each."""
        return self._compile_loss, self._compile_metrics, self._loss_tracker

    def set_objective(self, state: tuple[Any, Any, Any]) -> None:
        """Takes another `objective_state`."""
        # As after `compile`, Keras must track none of them.
        self.__dict__.update(
            zip(
                ("_compile_loss", "_compile_metrics", "_loss_tracker"),
                state,
                strict=True,
            )
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


def fresh_objective(
    state: tuple[Any, Any, Any], fresh: Callable[[Any], Any]
) -> tuple[Any, Any, Any]:
    """Returns an `objective_state` in which nothing has been seen yet.

    Args:
        state: What `compile` made.
        fresh: Makes the losses or metrics given to `compile` again.
    """
    loss, metrics, tracker = state
    if loss is not None:
        loss = type(loss)(
            fresh(loss._user_loss),
            loss._user_loss_weights,
            output_names=loss.output_names,
        )
    if metrics is not None:
        metrics = type(metrics)(
            fresh(metrics._user_metrics),
            fresh(metrics._user_weighted_metrics),
            output_names=metrics.output_names,
        )
    return loss, metrics, keras.metrics.Mean(name=tracker.name)


def fresh_wrapper(metric: keras.metrics.Metric) -> Any:
    """Returns a new metric of the same function, or None for other metrics.

    A configuration names a function that Keras may not find again.
    """
    if type(metric) is not keras.metrics.MeanMetricWrapper:
        return None
    return keras.metrics.MeanMetricWrapper(
        metric._fn,
        name=metric.name,
        dtype=metric.dtype,
        **metric._fn_kwargs,
    )


def holds_state(loss: keras.losses.Loss) -> bool:
    """Whether a loss of the user's own has variables or metrics."""
    return any(
        isinstance(part, (keras.Variable, tf.Variable, keras.metrics.Metric))
        for part in keras.tree.flatten(dict(vars(loss)))
    )


def loss_arguments(loss: Any) -> dict[str, Any]:
    """Returns the arguments of a Keras loss, such as `from_logits`."""
    return getattr(loss, "_fn_kwargs", {})


def hand_on_mask(source: Any, result: Any) -> None:
    """Gives a tensor the mask of padded steps of the one it was made of."""
    mask = keras_mask(source)
    if mask is not None and result is not source:
        set_keras_mask(result, mask)


def traced_graph() -> tf.Graph:
    """Returns the graph that is being traced."""
    return tf.compat.v1.get_default_graph()
