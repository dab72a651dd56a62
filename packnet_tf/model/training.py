"""Training under protection: compile, fit and the step, on any strategy."""

import inspect
from typing import Any

import keras
import tensorflow as tf

from packnet_tf.errors import PhaseError
from packnet_tf.model import even_batches, replicas
from packnet_tf.model.compiled import Compiled
from packnet_tf.model.protection import Protection
from packnet_tf.model.rules import Rules


class _EpochEnd(keras.callbacks.Callback):
    """Equalizes the replicas before any other callback saves a checkpoint."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.equalize_replicas()


class _StaysActive(keras.callbacks.Callback):
    """Refuses to go on if another callback left another task active."""

    def __init__(self, rules: Rules):
        super().__init__()
        self._rules = rules

    def on_epoch_begin(self, epoch, logs=None):
        self._rules.check_running()

    def on_epoch_end(self, epoch, logs=None):
        self._rules.check_running()


class Trainer(Compiled):
    """A `keras.Model` whose training step keeps protected weights exact.

    It compiles, trains and evaluates, with an optimizer and functions of
    their own for each phase. Of tasks it knows nothing: `train_by` gives it
    the rules.
    """

    def start_phase(self) -> None:
        """Starts a phase: fresh slots, and no function of the last one."""
        book = self._trainer
        book.protection = None
        self.drop_programs("train")
        if book.recipe is not None:
            with self.distribute_strategy.scope():
                self.optimizer = book.recipe.fresh()

    def masks_changed(self) -> None:
        """Rebuilds the step for new masks, keeping the optimizer's slots.

        Steps read the masks as they run; only other facts, such as a kernel
        that is now shared, make another program.
        """
        book = self._trainer
        if book.protection is None:
            return
        packed = book.rules.is_packed
        if not packed and (
            self._new_protection().facts == book.protection.facts
        ):
            return
        book.protection = None
        if "train" in self.drop_programs("train") and not packed:
            # Perhaps in the middle of a `fit`.
            self.make_train_function()

    def make_train_function(self, force=False):
        """Makes the training function of the current phase."""
        self._protection()
        with self.distribute_strategy.scope():
            if not self.optimizer.built:
                self.optimizer.build(self.trainable_variables)
        function = self.make_program(
            "train", super().make_train_function, force
        )
        self._trainer.rules.trains_with(self.loss)
        return function

    def make_test_function(self, force=False):
        """Makes the evaluation function of what is active."""
        return self.make_program("test", super().make_test_function, force)

    def make_predict_function(self, force=False):
        """Makes the prediction function of what is active."""
        return self.make_program(
            "predict", super().make_predict_function, force
        )

    def _new_protection(self) -> Protection:
        # A user's own step asks while it is traced.
        with tf.init_scope():
            # Steps were made before these masks: slots of weights that are
            # gone still hold momentum.
            stale = self.optimizer is not None and bool(
                self.optimizer.iterations > 0
            )
        return self._trainer.rules.protection(stale)

    def _protection(self) -> Protection:
        book = self._trainer
        if book.protection is None:
            book.protection = self._new_protection()
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
        protection = self._protection()
        self._trainer.rules.trains_with(self.loss)
        if variables is None:
            variables = self.trainable_variables
        protection.apply(self.optimizer, gradients, variables)
        self._trainer.drifted = True

    def train_step(self, data):
        """One step: as Keras's own, but protected weights keep their bytes."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        self._trainer.rules.check_step(x)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.objective(x, y, y_pred, sample_weight)
            # Keras divides the loss by the number of replicas, for the sum
            # of gradients; the figure shown to the user is the undivided one.
            scale = self.distribute_strategy.num_replicas_in_sync
            self.show_loss(
                loss * tf.cast(scale, loss.dtype) if scale > 1 else loss,
                rows=tf.shape(tf.nest.flatten(x)[0])[0],
            )
            loss = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        # Where the number of batches is not known, the last step finds no data
        # and is broken off. Decay needs none: it might be applied, and what
        # it changed not be put back.
        parts = tf.nest.flatten(data, expand_composites=True)
        with tf.control_dependencies([p for p in parts if tf.is_tensor(p)]):
            self._protection().apply(self.optimizer, gradients, variables)
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def fit(self, x=None, y=None, *args, callbacks=None, **kwargs):
        """Trains the current phase; arguments as in `keras.Model.fit`.

        Raises:
            PhaseError: If no task is in training.
            TaskError: If the loss or a metric is for tasks of another kind.
        """
        self._protection()
        self.check_compiled(trains=True)
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = [
                _EpochEnd(),
                *keras.tree.flatten(callbacks or []),
                _StaysActive(self._trainer.rules),
            ]
        named = self._named("fit", x, y, *args, callbacks=callbacks, **kwargs)
        book = self._trainer
        with book.rules.inside("fit"):
            book.drifted = True
            try:
                if self.distribute_strategy.num_replicas_in_sync > 1:
                    named = even_batches.even_fit(
                        self.distribute_strategy, named
                    )
                return super().fit(**named)
            finally:
                self.forget_first_epoch()
                self.equalize_replicas()
                book.drifted = False

    def train_on_batch(self, *args, **kwargs):
        """Runs one step on one batch; see `keras.Model.train_on_batch`."""
        self._protection()
        self.check_compiled(trains=True)
        with self._trainer.rules.inside("train_on_batch"):
            self._trainer.drifted = True
            return super().train_on_batch(*args, **kwargs)

    def test_on_batch(self, *args, **kwargs):
        """Evaluates one batch; see `keras.Model.test_on_batch`."""
        self.check_compiled(trains=False)
        with self._trainer.rules.inside("test_on_batch"):
            return super().test_on_batch(*args, **kwargs)

    def predict_on_batch(self, x):
        """Scores of one batch; see `keras.Model.predict_on_batch`."""
        with self._trainer.rules.inside("predict_on_batch"):
            return super().predict_on_batch(x)

    def evaluate(self, *args, **kwargs):
        """Evaluates the active task; see `keras.Model.evaluate`.

        Raises:
            TaskError: If the network is compiled for tasks of another kind.
        """
        self.check_compiled(trains=False)
        self.equalize_replicas()
        named = self._named("evaluate", *args, **kwargs)
        rules = self._trainer.rules
        if named.get("_use_cached_eval_dataset"):
            rules.check_running()  # The validation of a `fit`.
        with rules.inside("evaluate"):
            if self.distribute_strategy.num_replicas_in_sync > 1:
                named = even_batches.even_evaluate(
                    self.distribute_strategy, named
                )
            return super().evaluate(**named)

    def predict(self, *args, **kwargs):
        """Scores of the active task; see `keras.Model.predict`."""
        self.equalize_replicas()
        named = self._named("predict", *args, **kwargs)
        strategy = self.distribute_strategy
        with self._trainer.rules.inside("predict"):
            if isinstance(strategy, even_batches.SPLITTING):
                named = even_batches.even_evaluate(strategy, named)
            return super().predict(**named)

    def _named(self, method: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Returns the arguments of a Keras method by their names."""
        # Inside `call`, Keras would make many lines of it.
        self._trainer.rules.check_loaded()
        stock = getattr(keras.Model, method)
        given = inspect.signature(stock).bind(self, *args, **kwargs).arguments
        del given["self"]
        if self.compiled:
            validation = given.get("validation_data")
            apart = validation if isinstance(validation, (list, tuple)) else ()
            for labels in (given.get("y"), *apart[1:2]):
                self._trainer.rules.check_labels(self.loss, labels)
        return given.pop("kwargs", {}) | given

    def equalize_replicas(self) -> None:
        """Makes non-trainable statistics equal on all replicas."""
        if self._trainer.drifted:
            replicas.equalize(
                self.distribute_strategy,
                [
                    v
                    for v in self.non_trainable_variables
                    if v.dtype.startswith(("float", "bfloat"))
                ],
            )
