"""Compiling: the optimizer's recipe, and loss and metrics of each task."""

from typing import Any

import keras

from packnet_tf.errors import ProtectionError, TaskError
from packnet_tf.model.files import compile_arguments
from packnet_tf.model.objectives import fresh
from packnet_tf.model.optimizers import OptimizerRecipe, check_optimizer
from packnet_tf.model.programs import KINDS, Programs
from packnet_tf.model.protection import Protection
from packnet_tf.model.rules import Rules
from packnet_tf.tf_internals.training import fresh_objective
from packnet_tf.tf_internals.workers import are_several


class _Training:
    """Python-side state that Keras must neither track nor save."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        # Loss and metrics by task; an error where they cannot be made.
        self.objectives: dict[Any, Any] = {}
        self.recipe: OptimizerRecipe | None = None
        self.protection: Protection | None = None
        self.drifted = False


class Compiled(Programs):
    """The part of a trainer that takes an optimizer, a loss and metrics.

    One call of `compile` serves all tasks and phases: they get an optimizer,
    losses and metrics of their own, made of what it was given.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.optimizer = None

    def train_by(self, rules: Rules) -> None:
        """Makes the model train by these rules from now on."""
        self._trainer = _Training(rules)
        self.program_by(rules)

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
        that it has now; a schedule or callable serves all phases, and must
        keep no state. Tasks may have losses and metrics of their own: call
        it again after `add_task`, or after `activate` to evaluate.

        Args:
            optimizer: Name or instance; see `keras.Model.compile`.
            loss: As in Keras. It has to suit the outputs of the active task:
                `from_logits=True` goes with `activation="linear"` alone, and
                cross-entropies of scores with softmax or sigmoid.
            *args: As in Keras.
            jit_compile: Off unless asked for, and for the training step
                alone: tasks are evaluated and asked by programs without XLA.
            **kwargs: As in Keras.

        Raises:
            ProtectionError: If the optimizer's settings cannot keep packed
                tasks exact on this strategy, no fresh one can be made of its
                configuration, or XLA is asked for with several workers.
            TaskError: If the loss or a metric does not suit the outputs.
        """
        if jit_compile and are_several(self.distribute_strategy):
            raise ProtectionError(
                f"compile(jit_compile={jit_compile!r}) with several workers: "
                "XLA cannot compile the sums over workers on a CPU, and on "
                "GPUs it has not been tried; leave it out."
            )
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
                # If that fails, all is as it was.
                OptimizerRecipe(optimizer).fresh()
            self.forget_objective()
            super().compile(optimizer, loss, *args, **kwargs)
        book = self._trainer
        self.drop_programs(*KINDS)
        book.objectives = {book.rules.objective_key: self.objective_state}
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
        """Starts a phase, with fresh slots."""
        raise NotImplementedError

    def select_objective(self) -> None:
        """Gives the active task its own loss and metrics."""
        book = self._trainer
        if not book.objectives:
            return
        key = book.rules.objective_key
        if key not in book.objectives:
            given = next(iter(book.objectives.values()))
            try:
                with self.distribute_strategy.scope():
                    book.objectives[key] = fresh_objective(given, fresh)
            except TaskError as error:
                book.objectives[key] = error
        state = book.objectives[key]
        if not isinstance(state, TaskError):
            self.set_objective(state)

    def check_compiled(self, trains: bool) -> None:
        """Refuses what was compiled for outputs of another kind."""
        objectives = self._trainer.objectives
        state = objectives.get(self._trainer.rules.objective_key)
        if isinstance(state, TaskError):
            raise state
        if self.compiled:  # Otherwise Keras says so.
            self._trainer.rules.check_objective(
                self.loss, self.objective_metrics(), trains
            )
