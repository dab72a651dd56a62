"""Optimizers: which settings are refused, and how a phase gets a fresh one."""

from collections.abc import Iterator

import keras

from packnet_tf.errors import ProtectionError, first_line
from packnet_tf.tf_internals.optimizers import (
    changing_rate,
    decay_exclusions,
    decays_in_stock_way,
    exclude_from_decay,
    is_mapped_by_function,
)

# With fresh slots and a zero gradient these leave a weight exactly as it is
# (measured over epochs, on one and two replicas: model/test_protection.py).
# Exact classes, not subclasses: a user's subclass may do anything.
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


def innermost(optimizer: keras.optimizers.Optimizer):
    """Returns the optimizer inside any loss-scaling wrappers."""
    while isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    return optimizer


def scales_loss(layer: keras.layers.Layer) -> bool:
    """Whether Keras scales the loss of a model with the layer's precision."""
    return layer.dtype_policy.name == "mixed_float16"


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
        if is_mapped_by_function(layer):
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
            rate and its exclusions from weight decay are captured. A schedule
            or callable is handed on as the object it is.

    Raises:
        ProtectionError: If its `get_config()` fails.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer):
        parts = list(_parts(optimizer))
        self._class = type(optimizer)
        self._name = type(innermost(optimizer)).__name__
        self._exclusions = [decay_exclusions(part) for part in parts]
        self._rates = [changing_rate(part) for part in parts]
        # Keras looks inner ones up by name, in vain if nothing registered them.
        self._custom = {
            type(part).__name__: type(part)
            for part in parts
            if not type(part).__module__.startswith("keras.")
        }
        # A lambda, or a schedule of the user's own, has no configuration that
        # Keras could read again.
        stand_in = keras.optimizers.schedules.PolynomialDecay(0.5, 1)
        try:
            _set_rates(
                parts, [None if r is None else stand_in for r in self._rates]
            )
            self._config = optimizer.get_config()
        except Exception as error:
            raise self._refusal(error) from error
        finally:
            _set_rates(parts, self._rates)

    def fresh(self) -> keras.optimizers.Optimizer:
        """Returns a new optimizer; call it in the model's strategy scope.

        Raises:
            ProtectionError: If none can be made of the configuration.
        """
        try:
            with keras.saving.custom_object_scope(self._custom):
                optimizer = self._class.from_config(dict(self._config))
            parts = list(_parts(optimizer))
            _set_rates(parts, self._rates)
        except Exception as error:
            raise self._refusal(error) from error
        for part, exclusions in zip(parts, self._exclusions, strict=True):
            exclude_from_decay(part, exclusions)
            if getattr(part, "epsilon_1", 1.0) < _LEAST_EPSILON_1:
                part.epsilon_1 = _LEAST_EPSILON_1
        return optimizer

    def _refusal(self, error: Exception) -> ProtectionError:
        return ProtectionError(
            f"The optimizer {self._name} cannot be made afresh for every "
            "phase; complete its get_config(), so that from_config() makes an "
            f"equal one: {first_line(error)}"
        )


def _set_rates(parts, rates) -> None:
    """Gives parts of an optimizer their schedules or callables."""
    for part, rate in zip(parts, rates, strict=True):
        if rate is not None:
            part.learning_rate = rate


def stays_still(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether it leaves weights of gradient 0 as they are, but for decay.

    True of what has been measured, with fresh slots and either no weight
    decay or Keras's own, which a `Protection` keeps off protected weights.

    Args:
        optimizer: The innermost optimizer.
    """
    return type(optimizer) in _STILL_AT_ZERO_GRADIENT and (
        getattr(optimizer, "weight_decay", None) is None
        or decays_in_stock_way(optimizer)
    )
