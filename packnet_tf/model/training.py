"""Training under protection: compile, fit and the step, on any strategy."""

from typing import Any

import keras
import tensorflow as tf
from keras.src.trainers.data_adapters import data_adapter_utils

from packnet_tf.errors import PhaseError
from packnet_tf.model import replicas
from packnet_tf.model.protection import (
    OptimizerRecipe,
    Protection,
    check_optimizer,
)
from packnet_tf.tf_internals import replicas_without_autotune


class _Book:
    """Python-side state that Keras must neither track nor save."""

    def __init__(self) -> None:
        self.functions: dict[Any, Any] = {}
        self.recipe: OptimizerRecipe | None = None
        self.protection: Protection | None = None
        self.drifted = False


class _EpochEnd(keras.callbacks.Callback):
    """Equalizes the replicas before any other callback saves a checkpoint."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.equalize_replicas()


class ProtectedTraining(keras.Model):
    """A `keras.Model` whose training step keeps protected weights exact.

    The subclass says what the current phase is; this class compiles, fits
    and evaluates with it. It knows nothing of tasks.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.optimizer = None
        self._training_book = _Book()

    # What the subclass answers.

    def _function_key(self) -> Any:
        """Returns a key for all that a traced function depends on."""
        raise NotImplementedError

    def _make_protection(self) -> Protection:
        """Returns the protection of the current phase, or raises."""
        raise NotImplementedError

    def _mark_trained(self) -> None:
        """Remembers that the current phase has trained."""
        raise NotImplementedError

    def _check_objective(self, loss: Any, metrics: Any, trains: bool) -> None:
        """Refuses a loss and metrics that do not suit the outputs.

        Args:
            loss: As in `compile`.
            metrics: All of them, in any structure.
            trains: Whether they are to be trained with.
        """
        raise NotImplementedError

    # What it does.

    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        *args,
        jit_compile=False,
        **kwargs,
    ) -> None:
        """Configures training, as `keras.Model.compile` does.

        One call serves all phases of a task: the optimizer is a recipe from
        which every phase makes a fresh one (old slots would move protected
        weights), with the learning rate and the exclusions from weight decay
        that it has now. Tasks may have losses and metrics of their own: call
        it again after `add_task`, or after `activate` to evaluate.

        Args:
            optimizer: Name or instance; see `keras.Model.compile`.
            loss: As in Keras. It has to suit the outputs of the active task:
                `from_logits=True` goes with `activation="linear"` alone, and
                cross-entropies of scores with softmax or sigmoid.
            *args: As in Keras.
            jit_compile: Off unless asked for: another program may give
                other bytes.
            **kwargs: As in Keras.

        Raises:
            ProtectionError: If the optimizer's settings cannot keep packed
                tasks exact on this strategy.
            TaskError: If the loss or a metric does not suit the outputs.
        """
        metrics = [kwargs.get("metrics"), kwargs.get("weighted_metrics")]
        self._check_objective(loss, [metrics, args[1:3]], True)
        self._configure(
            optimizer, loss, *args, jit_compile=jit_compile, **kwargs
        )

    def _configure(self, optimizer, loss, *args, **kwargs) -> None:
        strategy = self.distribute_strategy
        with strategy.scope():
            optimizer = keras.optimizers.get(optimizer)
            if optimizer is not None:
                check_optimizer(optimizer, strategy.num_replicas_in_sync)
            # Keras would keep the last task's where there are none now.
            self.__dict__.update(loss=None, _compile_loss=None)
            self.__dict__.update(_compile_metrics=None)
            super().compile(optimizer, loss, *args, **kwargs)
        book = self._training_book
        book.functions.clear()
        book.recipe = None
        if self.optimizer is not None:
            book.recipe = OptimizerRecipe(self.optimizer)
        # Built already means it brings slots of another phase, or was made
        # outside the model's scope.
        if optimizer is not None:
            self._renew_optimizer()

    def get_compile_config(self):
        """Returns what `compile` was called with, or None."""
        return self._compile_config.serialize() if self.compiled else None

    def compile_from_config(self, config) -> None:
        """Compiles as the network was compiled when it was saved."""
        # Perhaps for another task than the one that is active now; `fit` and
        # `evaluate` will say so.
        self._configure(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None:
            # So that the slots in the file find their place.
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)

    def _renew_optimizer(self) -> None:
        """Starts a phase: fresh slots, and no function of the last one."""
        book = self._training_book
        book.protection = None
        self._drop_functions("train")
        if book.recipe is not None:
            with self.distribute_strategy.scope():
                self.optimizer = book.recipe.fresh()

    def _masks_changed(self) -> None:
        """Rebuilds the step for new masks, keeping the optimizer's slots.

        Steps read the masks as they run; only other facts, such as a kernel
        that is now shared, make another program.
        """
        book = self._training_book
        if book.protection is None:
            return
        changed = self._make_protection()
        if changed.facts == book.protection.facts:
            return
        book.protection = None
        if "train" in self._drop_functions("train"):
            # In the middle of a `fit`, which holds no function of its own.
            self.make_train_function()

    def _drop_functions(self, *kinds: str) -> set[str]:
        functions = self._training_book.functions
        dropped = {k[0] for k in functions if k[0] in kinds}
        for key in [k for k in functions if k[0] in kinds]:
            del functions[key]
        for kind in kinds:
            setattr(self, f"{kind}_function", None)
        return dropped

    def _select_functions(self) -> None:
        """Puts the current task's own functions into Keras's slots.

        Keras would go on with the function traced for the last task.
        """
        functions = self._training_book.functions
        key = self._function_key()
        for kind in ("train", "test", "predict"):
            setattr(self, f"{kind}_function", functions.get((kind, key)))

    def _remember(self, kind: str) -> None:
        key = (kind, self._function_key())
        self._training_book.functions[key] = getattr(self, f"{kind}_function")

    def make_train_function(self, force=False):
        """Makes the training function of the current phase."""
        self._phase_protection()
        with self.distribute_strategy.scope():
            if not self.optimizer.built:
                self.optimizer.build(self.trainable_variables)
        super().make_train_function(force)
        self._remember("train")
        self._mark_trained()
        return self.train_function

    def make_test_function(self, force=False):
        """Makes the evaluation function of the active task."""
        super().make_test_function(force)
        self._remember("test")
        return self.test_function

    def make_predict_function(self, force=False):
        """Makes the prediction function of the active task."""
        super().make_predict_function(force)
        self._remember("predict")
        return self.predict_function

    def _phase_protection(self) -> Protection:
        book = self._training_book
        if book.protection is None:
            book.protection = self._make_protection()
            if self.optimizer is not None:
                book.protection.attach(self.optimizer)
        return book.protection

    def apply_gradients(self, gradients, variables=None) -> None:
        """Applies gradients in a training loop of your own, protected.

        The one call that a user's loop needs in place of
        `optimizer.apply_gradients`: gradients of protected weights are
        zeroed, weight decay passes them by, and they keep their bytes.

        Args:
            gradients: One gradient (or None) for each variable.
            variables: The variables; by default `trainable_variables`.

        Raises:
            PhaseError: If no task is in training.

        Example:

        >>> with tf.GradientTape() as tape:
        ...     loss = loss_of(net(images, training=True), labels)
        >>> net.apply_gradients(tape.gradient(loss, net.trainable_variables))
        """
        if self.optimizer is None:
            raise PhaseError(
                "The network has no optimizer yet; call compile() first."
            )
        protection = self._phase_protection()
        self._mark_trained()
        if variables is None:
            variables = self.trainable_variables
        protection.apply(self.optimizer, gradients, variables)
        self._training_book.drifted = True

    def train_step(self, data):
        """One step: as Keras's own, but protected weights keep their bytes."""
        x, y, sample_weight = data_adapter_utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self._compute_loss(
                x=x,
                y=y,
                y_pred=y_pred,
                sample_weight=sample_weight,
                training=True,
            )
            # Keras divides the loss by the number of replicas, for the sum
            # of gradients; the figure shown to the user is the undivided one.
            scale = self.distribute_strategy.num_replicas_in_sync
            self._loss_tracker.update_state(
                loss * tf.cast(scale, loss.dtype) if scale > 1 else loss,
                sample_weight=tf.shape(tf.nest.flatten(x)[0])[0],
            )
            loss = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        self._phase_protection().apply(self.optimizer, gradients, variables)
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def _check_compiled(self, trains: bool) -> None:
        """Refuses what was compiled for a task of another kind."""
        if not self.compiled:
            return  # Keras says so.
        metrics = []
        if self._compile_metrics is not None:
            metrics = [
                self._compile_metrics._user_metrics,
                self._compile_metrics._user_weighted_metrics,
            ]
        self._check_objective(self.loss, metrics, trains)

    def fit(self, x=None, y=None, *args, callbacks=None, **kwargs):
        """Trains the current phase; arguments as in `keras.Model.fit`.

        Raises:
            PhaseError: If no task is in training.
            TaskError: If the loss or a metric is for tasks of another kind.
        """
        self._phase_protection()
        self._check_compiled(trains=True)
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            if callbacks is None:
                callbacks = []
            elif isinstance(callbacks, keras.callbacks.Callback):
                callbacks = [callbacks]
            callbacks = [_EpochEnd(), *callbacks]
        book = self._training_book
        book.drifted = True
        try:
            with replicas.even_batches(self.distribute_strategy):
                return super().fit(x, y, *args, callbacks=callbacks, **kwargs)
        finally:
            # BackupAndRestore leaves it set, and the next phase's `fit`
            # would then start at the epoch where this one was resumed.
            self._initial_epoch = None
            self.equalize_replicas()
            book.drifted = False

    def train_on_batch(self, *args, **kwargs):
        """Runs one step on one batch; see `keras.Model.train_on_batch`."""
        self._phase_protection()
        self._check_compiled(trains=True)
        self._training_book.drifted = True
        return super().train_on_batch(*args, **kwargs)

    def evaluate(self, *args, **kwargs):
        """Evaluates the active task; see `keras.Model.evaluate`.

        Raises:
            TaskError: If the network is compiled for tasks of another kind.
        """
        self._check_compiled(trains=False)
        self.equalize_replicas()
        with replicas.even_batches(self.distribute_strategy):
            return super().evaluate(*args, **kwargs)

    def predict(self, *args, **kwargs):
        """Scores of the active task; see `keras.Model.predict`."""
        self.equalize_replicas()
        with replicas_without_autotune():
            return super().predict(*args, **kwargs)

    def equalize_replicas(self) -> None:
        """Makes non-trainable statistics equal on all replicas."""
        if self._training_book.drifted:
            replicas.equalize(
                self.distribute_strategy,
                [
                    v
                    for v in self.non_trainable_variables
                    if v.dtype.startswith(("float", "bfloat"))
                ],
            )

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # The network is built when it is made. Metrics are the rest, and
        # Keras builds those when it traces the step, except under a
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
