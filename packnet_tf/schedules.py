"""Learning rates over a phase, and the optimizers made with them."""

import keras

# Momentum as in the paper; everything else as Keras has it.
_DEFAULTS = {"sgd": {"momentum": 0.9}}


def learning_rate(schedule: str, peak: float, steps: int):
    """Returns the learning rate of a phase of `steps` training steps.

    Args:
        schedule: `"cosine"` (to 0 at the end), `"constant"`, or `"step"`
            (a tenth from half the phase on, as the train phase of the
            paper's code).
        peak: The rate at the start.
        steps: Steps in the phase.

    Returns:
        A number or a `keras.optimizers.schedules.LearningRateSchedule`.
    """
    if schedule == "constant":
        return peak
    if schedule == "step":
        return keras.optimizers.schedules.PiecewiseConstantDecay(
            [max(steps // 2, 1)], [peak, 0.1 * peak]
        )
    return keras.optimizers.schedules.CosineDecay(peak, max(steps, 1))


def make_optimizer(
    name: str,
    schedule: str,
    peak: float,
    steps: int,
    weight_decay: float | None = None,
) -> keras.optimizers.Optimizer:
    """Returns a Keras optimizer for one phase.

    Args:
        name: Keras's name of it, such as `"adam"`.
        schedule: See `learning_rate`.
        peak: Highest learning rate.
        steps: Steps in the phase.
        weight_decay: Decoupled weight decay; None leaves the optimizer's
            own default.
    """
    config = dict(_DEFAULTS.get(name, {}))
    config["learning_rate"] = learning_rate(schedule, peak, steps)
    if weight_decay is not None:
        config["weight_decay"] = weight_decay
    return _classes()[name](**config)


def _classes() -> dict[str, type[keras.optimizers.Optimizer]]:
    # Not by `keras.optimizers.get`, which does not know Lamb.
    return {
        name.lower(): value
        for name, value in vars(keras.optimizers).items()
        if isinstance(value, type)
    }
