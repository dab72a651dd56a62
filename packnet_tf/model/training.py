"""Training under protection: compile, fit and the step, on any strategy."""

import inspect
from typing import Any

import keras
import tensorflow as tf

from packnet_tf.errors import PhaseError
from packnet_tf.model import replicas
from packnet_tf.model.files import compile_arguments
from packnet_tf.model.optimizers import OptimizerRecipe, check_optimizer
from packnet_tf.model.protection import Protection
from packnet_tf.model.rules import Rules
from packnet_tf.tf_internals.training import TrainerHooks


class _Book:
    """Python-side state that Keras must neither track nor save."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.functions: dict[Any, Any] = {}
        self.recipe: OptimizerRecipe | None = None
        self.protection: Protection | None = None
        self.drifted = False


class _EpochEnd(keras.callbacks.Callback):
    """Equalizes the replicas before any other callback saves a checkpoint."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.equalize_replicas()


class Trainer(TrainerHooks):
    """A `keras.Model` whose training step keeps protected weights exact.

    It compiles, trains and evaluates, with an optimizer and functions of
    their own for each phase. Of tasks it knows nothing: `train_by` gives it
    the rules.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.optimizer = None

    def train_by(self, rules: Rules) -> None:
        """Makes the model train by these rules from now on."""
        self._trainer = _Book(rules)

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
        rules = self._trainer.rules
        rules.check_objective(loss, [metrics, args[1:3]], trains=True)
        self._configure(
            optimizer, loss, *args, jit_compile=jit_compile, **kwargs
        )

    def _configure(self, optimizer, loss, *args, **kwargs) -> None:
        strategy = self.distribute_strategy
        with strategy.scope():
            optimizer = keras.optimizers.get(optimizer)
            if optimizer is not None:
                check_optimizer(optimizer, strategy.num_replicas_in_sync)
            self.forget_objective()
            super().compile(optimizer, loss, *args, **kwargs)
        book = self._trainer
        book.functions.clear()
        book.recipe = None
        if self.optimizer is not None:
            book.recipe = OptimizerRecipe(self.optimizer)
            # Built already means it brings slots of another phase, or was
            # made outside the model's scope.
            self.start_phase()

    def get_compile_config(self):
        """Returns what `compile` was called with, or None."""
        return super().get_compile_config() or None

    def compile_from_config(self, config) -> None:
        """Compiles as the network was compiled when it was saved."""
        known = compile_arguments(config)
        if known is None:
            return
        # Perhaps for another task than the one that is active now; `fit` and
        # `evaluate` will say so.
        self._configure(**known)
        if self.optimizer is not None:
            # So that the slots in the file find their place.
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)

    def start_phase(self) -> None:
        """Starts a phase: fresh slots, and no function of the last one."""
        book = self._trainer
        book.protection = None
        self.drop_functions("train")
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
        if self._new_protection().facts == book.protection.facts:
            return
        book.protection = None
        if "train" in self.drop_functions("train"):
            # In the middle of a `fit`, which holds no function of its own.
            self.make_train_function()

    def drop_functions(self, *kinds: str) -> set[str]:
        """Forgets functions of these kinds; returns those there were."""
        functions = self._trainer.functions
        dropped = [key for key in functions if key[0] in kinds]
        for key in dropped:
            del functions[key]
        for kind in kinds:
            setattr(self, f"{kind}_function", None)
        return {kind for kind, _ in dropped}

    def select_functions(self) -> None:
        """Puts the functions of what is active now into Keras's slots.

        Keras would go on with the function traced for something else.
        """
        book = self._trainer
        for kind in ("train", "test", "predict"):
            function = book.functions.get((kind, book.rules.function_key))
            setattr(self, f"{kind}_function", function)

    def _remember(self, kind: str) -> Any:
        function = getattr(self, f"{kind}_function")
        key = self._trainer.rules.function_key
        self._trainer.functions[kind, key] = function
        return function

    def make_train_function(self, force=False):
        """Makes the training function of the current phase."""
        self._protection()
        with self.distribute_strategy.scope():
            if not self.optimizer.built:
                self.optimizer.build(self.trainable_variables)
        super().make_train_function(force)
        self._trainer.rules.trains_with(self.loss)
        return self._remember("train")

    def make_test_function(self, force=False):
        """Makes the evaluation function of what is active."""
        super().make_test_function(force)
        return self._remember("test")

    def make_predict_function(self, force=False):
        """Makes the prediction function of what is active."""
        super().make_predict_function(force)
        return self._remember("predict")

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

    def _check_compiled(self, trains: bool) -> None:
        """Refuses what was compiled for outputs of another kind."""
        if self.compiled:  # Otherwise Keras says so.
            self._trainer.rules.check_objective(
                self.loss, self.objective_metrics(), trains
            )

    def fit(self, x=None, y=None, *args, callbacks=None, **kwargs):
        """Trains the current phase; arguments as in `keras.Model.fit`.

        Raises:
            PhaseError: If no task is in training.
            TaskError: If the loss or a metric is for tasks of another kind.
        """
        self._protection()
        self._check_compiled(trains=True)
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = [_EpochEnd(), *keras.tree.flatten(callbacks or [])]
        named = self._named("fit", x, y, *args, callbacks=callbacks, **kwargs)
        book = self._trainer
        book.drifted = True
        try:
            if self.distribute_strategy.num_replicas_in_sync > 1:
                named = replicas.even_fit(self.distribute_strategy, named)
            return super().fit(**named)
        finally:
            self.forget_first_epoch()
            self.equalize_replicas()
            book.drifted = False

    def train_on_batch(self, *args, **kwargs):
        """Runs one step on one batch; see `keras.Model.train_on_batch`."""
        self._protection()
        self._check_compiled(trains=True)
        self._trainer.drifted = True
        return super().train_on_batch(*args, **kwargs)

    def evaluate(self, *args, **kwargs):
        """Evaluates the active task; see `keras.Model.evaluate`.

        Raises:
            TaskError: If the network is compiled for tasks of another kind.
        """
        self._check_compiled(trains=False)
        self.equalize_replicas()
        named = self._named("evaluate", *args, **kwargs)
        if self.distribute_strategy.num_replicas_in_sync > 1:
            named = replicas.even_evaluate(self.distribute_strategy, named)
        return super().evaluate(**named)

    def predict(self, *args, **kwargs):
        """Scores of the active task; see `keras.Model.predict`."""
        self.equalize_replicas()
        named = self._named("predict", *args, **kwargs)
        if isinstance(self.distribute_strategy, tf.distribute.MirroredStrategy):
            named = replicas.even_evaluate(self.distribute_strategy, named)
        return super().predict(**named)

    def _named(self, method: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Returns the arguments of a Keras method by their names."""
        # Inside `call`, Keras would make many lines of it.
        self._trainer.rules.check_loaded()
        stock = getattr(keras.Model, method)
        given = inspect.signature(stock).bind(self, *args, **kwargs).arguments
        del given["self"]
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
