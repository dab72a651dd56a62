"""The graph code of the promise: what one training step may change.

A masked kernel holds the weights of several tasks. During a phase of task t
only the weights that t owns may change, so a step

1. replaces the gradient of every protected weight by zero before the
   optimizer sees it (with a `where`: 0 * inf would be NaN, and clipping by
   norm must not count gradients that are not applied),
2. keeps decoupled weight decay off protected weights, and
3. where an optimizer may move a weight under a zero gradient, or a protected
   weight is so small that adding 0 makes it 0, puts the old values of
   protected weights back after the update.

Which of these a kernel needs is known when the step is traced: a kernel that
the task owns whole needs none of them, and most optimizers do not need the
third.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.layers import MaskedKernel
from packnet_tf.layers.kernel import choose
from packnet_tf.masks.precision import subnormal
from packnet_tf.model.optimizers import innermost, stays_still
from packnet_tf.tf_internals.optimizers import (
    decays_in_stock_way,
    exchange_decay,
    merge_call,
)


class Protection:
    """What one phase of one task may change, as known at trace time.

    Args:
        kernels: The network's masked kernels. Those of which the task owns
            all need no protection.
        owner: Number of the task in training.
        stale_slots: Whether masks changed since the optimizer's slots were
            made, as in gradual pruning.
    """

    def __init__(
        self,
        kernels: Sequence[MaskedKernel],
        owner: int,
        stale_slots: bool = False,
    ):
        self._owner = owner
        self._stale_slots = stale_slots
        # A user's own step makes it while it is traced.
        with tf.init_scope():
            own = [kernel.owners == owner for kernel in kernels]
        protected = [
            (kernel, ours)
            for kernel, ours in zip(kernels, own, strict=True)
            if not ours.all()
        ]
        self._kernels = {id(kernel.variable): kernel for kernel, _ in protected}
        # Tasks that release 0.1 packed may have them.
        self._subnormal = frozenset(
            id(kernel.variable)
            for kernel, ours in protected
            if np.any(subnormal(kernel.value) & ~ours)
        )

    @property
    def facts(self) -> tuple[Any, ...]:
        """What a traced step depends on; steps of equal facts are equal."""
        return (
            self._owner,
            self._stale_slots,
            self._subnormal,
            frozenset(self._kernels),
        )

    def attach(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Makes the optimizer's weight decay pass protected weights by.

        Decay and its mask are applied in one pass, which costs about what
        the decay alone costs. Optimizers that decay in their own way keep
        it, and have the protected weights put back.

        Args:
            optimizer: A fresh optimizer of this phase.
        """
        inner = innermost(optimizer)
        if not self._kernels or not decays_in_stock_way(inner):
            return

        def decay(variables):
            strategy = tf.distribute.get_strategy()
            merge_call(self._decay_own, strategy, variables, inner)

        exchange_decay(inner, lambda v: id(v) in self._kernels, decay)

    def _to_put_back(
        self,
        optimizer: keras.optimizers.Optimizer,
        variables: Sequence[keras.Variable],
    ) -> list[MaskedKernel]:
        """Returns the kernels whose protected weights a step has to restore.

        Args:
            optimizer: The optimizer of this phase.
            variables: What the step changes.
        """
        touched = {id(variable) for variable in variables}
        kernels = [k for i, k in self._kernels.items() if i in touched]
        if (
            self._stale_slots
            or self._subnormal & touched
            or not stays_still(innermost(optimizer))
            or any(k.variable.constraint is not None for k in kernels)
        ):
            return kernels
        return []

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
                gradient = choose(own, gradient)
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
        kernels = self._to_put_back(optimizer, variables)
        before = [tf.identity(kernel.variable.value) for kernel in kernels]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        if kernels:
            merge_call(
                self._put_back, tf.distribute.get_strategy(), kernels, before
            )

    def _mask_value(self, kernel: MaskedKernel) -> tf.Tensor:
        return tf.constant(self._owner, kernel.mask.dtype)

    def _put_back(self, strategy, kernels, before):
        for kernel, old in zip(kernels, before, strict=True):

            def restore(variable, old, mask):
                own = tf.equal(mask, tf.constant(self._owner, mask.dtype))
                variable.assign(choose(own, variable, old))

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
                variable.assign(choose(own, new, old))

            strategy.extended.update(
                variable.value,
                decay,
                args=(self._kernels[id(variable)].mask.value,),
                group=False,
            )
