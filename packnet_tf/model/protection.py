"""The graph code of the promise: what one training step may change.

A masked kernel holds the weights of several tasks. During a phase of task t
only the weights that t owns may change, so a step

1. replaces the gradient of every protected weight by zero before the
   optimizer sees it (with a `where`: 0 * inf would be NaN, and clipping by
   norm must not count gradients that are not applied),
2. keeps decoupled weight decay off protected weights, and
3. where an optimizer may move a weight under a zero gradient, puts the old
   values of protected weights back after the update.

Which of these a kernel needs is known when the step is traced: a kernel that
the task owns whole needs none of them, and most optimizers do not need the
third.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from packnet_tf.errors import ProtectionError
from packnet_tf.layers import MaskedKernel

# With fresh slots and a zero gradient these leave a weight exactly as it is
# (measured over epochs, on one and two replicas: model/test_protection.py).
# Exact classes, not subclasses: a user's subclass may do anything. Every
# other optimizer gets its protected weights put back after each step.
_STILL_AT_ZERO_GRADIENT = frozenset(
    {
        keras.optimizers.SGD,
        keras.optimizers.RMSprop,
        keras.optimizers.Adam,
        keras.optimizers.AdamW,
        keras.optimizers.Adamax,
        keras.optimizers.Nadam,
        keras.optimizers.Adagrad,
        keras.optimizers.Adadelta,
        keras.optimizers.Lion,
        keras.optimizers.Lamb,
    }
)

# Adafactor divides by the product of two means of squares, raised by its
# epsilon_1. Where a kernel's gradients are 0 in a whole row and a whole column,
# as protection makes them, the product of two 1e-30 is 0 in float32, and every
# weight of the kernel becomes NaN.
_LEAST_EPSILON_1 = 1e-16

_merge_call = tf.__internal__.distribute.interim.maybe_merge_call


def innermost(optimizer: keras.optimizers.Optimizer):
    """Returns the optimizer inside any loss-scaling wrappers."""
    while isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    return optimizer


def _parts(optimizer) -> Iterator[keras.optimizers.Optimizer]:
    """Yields an optimizer and all that it is made of."""
    yield optimizer
    inner = innermost(optimizer)
    if inner is not optimizer:
        yield from _parts(inner)
    for part in getattr(inner, "optimizers", ()):
        if part is not inner:
            yield from _parts(part)


def check_optimizer(
    optimizer: keras.optimizers.Optimizer, replicas: int
) -> None:
    """Refuses the optimizer settings that cannot keep packed tasks exact.

    Args:
        optimizer: The optimizer given to `compile`.
        replicas: Number of replicas in the model's strategy.

    Raises:
        ProtectionError: For `use_ema=True` anywhere, for
            `gradient_accumulation_steps` on several replicas, and for a
            `MultiOptimizer` of a function.
    """
    for layer in _parts(optimizer):
        # A function's optimizers are unknown before it is called, and each
        # phase needs fresh ones.
        if isinstance(
            layer, keras.optimizers.MultiOptimizer
        ) and not isinstance(
            layer._optimizer_map, keras.optimizers.OptimizerMap
        ):
            raise ProtectionError(
                "MultiOptimizer(function) cannot be made afresh for every "
                "phase; give it a keras.optimizers.OptimizerMap."
            )
        if getattr(layer, "use_ema", False):
            raise ProtectionError(
                f"{type(layer).__name__}(use_ema=True) overwrites whole "
                "kernels with averages after the training step, packed "
                "weights included; use an optimizer without use_ema."
            )
        if getattr(layer, "gradient_accumulation_steps", None) and replicas > 1:
            raise ProtectionError(
                f"{type(layer).__name__}(gradient_accumulation_steps=...) "
                f"does not run on {replicas} replicas in Keras (a merge call "
                "inside a condition); use one replica, or a larger batch "
                "instead."
            )


class OptimizerRecipe:
    """An optimizer's configuration, from which fresh ones are made.

    Every phase starts with fresh slots: momentum left from an earlier phase
    moves weights under zero gradients, and so breaks the promise.

    Args:
        optimizer: The optimizer given to `compile`; its current learning
            rate and its exclusions from weight decay are captured.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        self._class = type(optimizer)
        self._config = optimizer.get_config()
        self._exclusions = [
            (
                set(getattr(part, "_exclude_from_weight_decay", ())),
                getattr(part, "_exclude_from_weight_decay_pattern", None),
            )
            for part in _parts(optimizer)
        ]

    def fresh(self) -> keras.optimizers.Optimizer:
        """Returns a new optimizer; call it in the model's strategy scope."""
        optimizer = self._class.from_config(dict(self._config))
        for part, (variables, pattern) in zip(
            _parts(optimizer), self._exclusions, strict=True
        ):
            if variables or pattern:
                part.exclude_from_weight_decay()
                part._exclude_from_weight_decay = set(variables)
                part._exclude_from_weight_decay_pattern = pattern
            if getattr(part, "epsilon_1", 1.0) < _LEAST_EPSILON_1:
                part.epsilon_1 = _LEAST_EPSILON_1
        return optimizer


class Protection:
    """What one phase of one task may change, as known at trace time.

    Args:
        kernels: The network's masked kernels.
        owner: Number of the task in training.
        shared: For each kernel, whether the task owns some but not all of
            its weights; the others need no protection.
        stale_slots: Whether masks changed since the optimizer's slots were
            made, as in gradual pruning.
    """

    def __init__(
        self,
        kernels: Sequence[MaskedKernel],
        owner: int,
        shared: Sequence[bool],
        stale_slots: bool = False,
    ):
        self._owner = owner
        self._stale_slots = stale_slots
        self._kernels = {
            id(kernel.variable): kernel
            for kernel, is_shared in zip(kernels, shared, strict=True)
            if is_shared
        }

    @property
    def facts(self) -> tuple[Any, ...]:
        """What a traced step depends on; steps of equal facts are equal."""
        return self._owner, self._stale_slots, frozenset(self._kernels)

    def attach(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Makes the optimizer's weight decay pass protected weights by.

        Decay and its mask are applied in one pass, which costs about what
        the decay alone costs. Optimizers that decay in their own way keep
        it, and have the protected weights put back.

        Args:
            optimizer: A fresh optimizer of this phase.
        """
        inner = innermost(optimizer)
        if not self._kernels or not _decays_in_stock_way(inner):
            return
        stock = type(inner)._apply_weight_decay

        def apply_weight_decay(variables):
            masked = [v for v in variables if id(v) in self._kernels]
            stock(inner, [v for v in variables if id(v) not in self._kernels])
            masked = [v for v in masked if inner._use_weight_decay(v)]
            if masked:
                _merge_call(
                    self._decay_own,
                    inner._distribution_strategy,
                    masked,
                    inner,
                )

        inner._apply_weight_decay = apply_weight_decay

    def puts_back(self, optimizer: keras.optimizers.Optimizer) -> bool:
        """Returns whether a step has to restore protected weights.

        Args:
            optimizer: The optimizer of this phase.
        """
        if not self._kernels:
            return False
        inner = innermost(optimizer)
        return (
            self._stale_slots
            or type(inner) not in _STILL_AT_ZERO_GRADIENT
            or (
                getattr(inner, "weight_decay", None) is not None
                and not _decays_in_stock_way(inner)
            )
            or any(
                kernel.variable.constraint is not None
                for kernel in self._kernels.values()
            )
        )

    def gradients(
        self,
        gradients: Sequence[Any],
        variables: Sequence[keras.Variable],
    ) -> list[Any]:
        """Returns the gradients with protected weights' entries exactly 0.

        Args:
            gradients: One gradient (or None) for each variable.
            variables: The variables, in the same order.
        """
        protected = []
        for gradient, variable in zip(gradients, variables, strict=True):
            kernel = self._kernels.get(id(variable))
            if kernel is not None and gradient is not None:
                gradient = tf.convert_to_tensor(gradient)
                own = tf.equal(kernel.mask.value, self._mask_value(kernel))
                gradient = tf.where(own, gradient, tf.zeros_like(gradient))
            protected.append(gradient)
        return protected

    def apply(
        self,
        optimizer: keras.optimizers.Optimizer,
        gradients: Sequence[Any],
        variables: Sequence[keras.Variable],
    ) -> None:
        """Applies gradients so that protected weights keep their bytes.

        Call it in the replica context, as in a `train_step`.

        Args:
            optimizer: The optimizer of this phase.
            gradients: One gradient (or None) for each variable.
            variables: The variables, in the same order.
        """
        gradients = self.gradients(gradients, variables)
        kernels = []
        if self.puts_back(optimizer):
            touched = {id(variable) for variable in variables}
            kernels = [k for i, k in self._kernels.items() if i in touched]
        before = [tf.identity(kernel.variable.value) for kernel in kernels]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        if kernels:
            _merge_call(
                self._put_back, tf.distribute.get_strategy(), kernels, before
            )

    def _mask_value(self, kernel: MaskedKernel) -> tf.Tensor:
        return tf.constant(self._owner, kernel.mask.dtype)

    def _put_back(self, strategy, kernels, before):
        for kernel, old in zip(kernels, before, strict=True):

            def restore(variable, old, mask):
                own = tf.equal(mask, tf.constant(self._owner, mask.dtype))
                variable.assign(tf.where(own, variable, old))

            strategy.extended.update(
                kernel.variable.value,
                restore,
                args=(old, kernel.mask.value),
                group=False,
            )

    def _decay_own(self, strategy, variables, optimizer):
        for variable in variables:

            def decay(variable, mask):
                rate = tf.cast(optimizer.learning_rate, variable.dtype)
                share = tf.cast(optimizer.weight_decay, variable.dtype)
                own = tf.equal(mask, tf.constant(self._owner, mask.dtype))
                old = variable.read_value()
                # The very expression of Keras, so that a task alone in its
                # kernel trains to the same bytes as with stock Keras.
                new = old - old * share * rate
                variable.assign(tf.where(own, new, old))

            strategy.extended.update(
                variable.value,
                decay,
                args=(self._kernels[id(variable)].mask.value,),
                group=False,
            )


def _decays_in_stock_way(optimizer) -> bool:
    stock = keras.optimizers.Optimizer._apply_weight_decay
    return (
        getattr(optimizer, "weight_decay", None) is not None
        and type(optimizer)._apply_weight_decay is stock
    )
