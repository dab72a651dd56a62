"""Says, before a run, which share of the weights a task uses and leaves."""

from packnet_tf.masks import ownership
from packnet_tf.options import fractions
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.task import TaskOptions
from packnet_tf.storage import checkpoints
from packnet_tf.storage.workdir import StateInfo, Workdir


def number_of(state: StateInfo | None, network: NetworkOptions) -> int:
    """Returns the number of the next added task, from 1.

    Args:
        state: The newest packed state, or None.
        network: The options of the network.
    """
    if state is None:
        return 1
    return len(state.tasks) + (0 if network.pretrained else 1)


def forecast(
    workdir: Workdir,
    network: NetworkOptions,
    options: TaskOptions,
    state: StateInfo | None,
) -> str:
    """Returns a line on the capacity that a task will use and leave.

    Args:
        workdir: The workdir.
        network: The options of its network.
        options: How to train the task.
        state: The newest packed state, or None.

    Returns:
        The line; empty if the capacity is not known.

    Raises:
        CapacityError: If no weights are free.
    """
    free: float | None = 1.0
    if state is not None:
        free = state.tasks[-1].metrics.get("capacity_left")
    elif network.pretrained:
        free = network.base_prune_fraction
    if not isinstance(free, (int, float)):
        # The program that committed the state kept no figures.
        return ""
    ownership.check_free(options.task, free)
    fraction, granularity = 0.0, options.granularity
    if "prune" in options.phases and options.finds_fraction:
        return (
            f"Capacity: {free:.1%} of the weights are free; this task "
            "keeps as few as its validation accuracy allows."
        )
    if "prune" in options.phases:
        fraction = fractions.parse_fraction(
            options.prune_fraction,
            number_of(state, network),
            options.planned_tasks,
        )
    elif "pack" not in options.phases:
        return f"Capacity: {free:.1%} of the weights are free."
    else:
        record = checkpoints.read_record(workdir.training_path)
        if record is not None and record.pruning:
            how = record.pruning[-1]
            fraction, granularity = how.fraction, how.granularity
    return fractions.forecast(free, fraction, granularity)
