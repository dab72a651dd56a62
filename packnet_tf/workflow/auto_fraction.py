"""`--prune_fraction=auto`: as much as validation accuracy allows."""

from typing import Any

from packnet_tf.errors import FlagError
from packnet_tf.options.task import TaskOptions
from packnet_tf.workflow.datasets import Prepared
from packnet_tf.workflow.fit_images import training_images
from packnet_tf.workflow.metrics import accuracy
from packnet_tf.workflow.train_loop import Say


def check_validation(options: TaskOptions, validates: bool) -> None:
    """Refuses to look for a fraction without validation images.

    Args:
        options: How to train the task.
        validates: Whether there are such images.

    Raises:
        FlagError: If there are none.
    """
    if options.finds_fraction and "prune" in options.phases and not validates:
        raise FlagError(
            f"--prune_fraction=auto: task {options.task!r} has no validation "
            "images to choose a fraction on; give a --validation_share above "
            "0, or a number as the fraction."
        )


def prune(net: Any, data: Prepared, options: TaskOptions, say: Say) -> float:
    """Prunes the task in training as far as validation accuracy allows.

    Args:
        net: The network.
        data: The task's data, with validation images.
        options: How to prune it.
        say: Prints a line of progress.

    Returns:
        The fraction.
    """
    points = options.points or 0.0
    unpruned: list[float] = []

    def measure() -> float:
        share = accuracy(net, data.validation)
        if not unpruned:
            unpruned.append(share)
            say(
                f"  prune: validation {share:.4f} before; as far as it stays "
                f"within {points:g} points, in 5 tries or fewer"
            )
            one = 100 / data.facts.validation
            if one > points:
                say(
                    f"  prune: one of the {data.facts.validation} validation "
                    f"images is {one:.1f} points, so that chance decides; "
                    "give a larger --tolerance, or a number as the fraction"
                )
        return share

    def report(fraction: float, share: float) -> None:
        moved = 100 * (share - unpruned[0])
        say(
            f"  prune: by {fraction:.0%}, validation {share:.4f} "
            f"({moved:+.1f} points)"
        )

    fraction = net.prune_within(
        # The difference of two shares of the images is not exact.
        points / 100 + 1e-9,
        measure,
        images=training_images(data, options.reconstruct_images),
        scope=options.scope,
        granularity=options.granularity,
        report=report,
    )
    say(f"  prune: {fraction:.0%} is chosen")
    return fraction
