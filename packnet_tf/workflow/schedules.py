"""Learning-rate schedules over a task's phases, and their optimizers."""

from typing import Any

import keras

# Momentum as in the paper; everything else is Keras's default.
_DEFAULTS = {"sgd": {"momentum": 0.9}}


@keras.saving.register_keras_serializable("packnet_tf")
class PartOfCosine(keras.optimizers.schedules.CosineDecay):
    """One phase's part of a cosine decay over several phases.

    It is needed because each phase has its own optimizer, which counts steps
    from 0.

    Args:
        initial_learning_rate: The rate at the start of the whole schedule.
        decay_steps: Steps of the whole decay, which ends at a rate of 0.
        start: Steps of decay and warm-up before this part.
        **kwargs: As for `keras.optimizers.schedules.CosineDecay`.

    Example:

    >>> round(float(PartOfCosine(0.002, 24, start=12)(0)), 6)
    0.001
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        start: int = 0,
        **kwargs: Any,
    ):
        super().__init__(initial_learning_rate, decay_steps, **kwargs)
        self.start = start

    def __call__(self, step):
        return super().__call__(step + self.start)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {**super().get_config(), "start": self.start}


def learning_rate(
    schedule: str,
    peak: float,
    steps: int,
    before: int = 0,
    after: int = 0,
    warmup_share: float = 0.0,
):
    """Returns the learning rate of a phase of `steps` training steps.

    Args:
        schedule: `"restarts"` (a cosine to 0 in each phase), `"cosine"` (one
            to 0, over this phase and those before and after it),
            `"constant"`, or `"step"` (a tenth in the second half of the
            phase, as in the train phase of the paper's code).
        peak: The highest rate.
        steps: Steps in the phase.
        before: Steps of the task before this phase.
        after: Steps of the task after it.
        warmup_share: Share of all the decay's steps during which a cosine
            first rises from 0 to `peak`; of restarts, the first one. Adam's
            first steps are as large as the rate for any gradient, so a high
            rate would destroy pretrained weights.

    Returns:
        A number or a `keras.optimizers.schedules.LearningRateSchedule`.
    """
    if schedule == "constant":
        return peak
    if schedule == "step":
        return keras.optimizers.schedules.PiecewiseConstantDecay(
            [max(steps // 2, 1)], [peak, 0.1 * peak]
        )
    if schedule == "restarts":
        warmup_share = 0.0 if before else warmup_share
        before = after = 0
    whole = before + steps + after
    warmup = int(warmup_share * whole)
    decay = max(whole - warmup, 1)
    if not warmup:
        return PartOfCosine(peak, decay, before)
    return PartOfCosine(
        0.0, decay, before, warmup_target=peak, warmup_steps=warmup
    )


def make_optimizer(
    name: str,
    schedule: str,
    peak: float,
    steps: int,
    weight_decay: float | None = None,
    *,
    before: int = 0,
    after: int = 0,
    warmup_share: float = 0.0,
) -> keras.optimizers.Optimizer:
    """Returns a Keras optimizer for one phase.

    Args:
        name: Its Keras name, such as `"adam"`.
        schedule: See `learning_rate`.
        peak: Highest learning rate.
        steps: Steps in the phase.
        weight_decay: Decoupled weight decay; None for the optimizer's
            default.
        before: See `learning_rate`.
        after: See `learning_rate`.
        warmup_share: See `learning_rate`.
    """
    config = dict(_DEFAULTS.get(name, {}))
    config["learning_rate"] = learning_rate(
        schedule, peak, steps, before, after, warmup_share
    )
    if weight_decay is not None:
        config["weight_decay"] = weight_decay
    return _classes()[name](**config)


def _classes() -> dict[str, type[keras.optimizers.Optimizer]]:
    # `keras.optimizers.get` does not know Lamb.
    return {
        name.lower(): value
        for name, value in vars(keras.optimizers).items()
        if isinstance(value, type)
    }
