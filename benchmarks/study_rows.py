"""The options that `studies.py` changes, one a study."""

import dataclasses
from typing import Any

PHOTOS = ("birds", "cars", "flowers")
DIGITS = tuple(f"permuted_mnist/{number}" for number in range(20))
_NO_RETRAINING = ("train", "prune", "pack")


@dataclasses.dataclass(frozen=True)
class Study:
    """One option, and what it is set to.

    Attributes:
        title: What the picture says.
        rows: The options of a task in each row; those of the network have
            `network_` before their names.
        tasks: The tasks, in order.
    """

    title: str
    rows: dict[str, dict[str, Any]]
    tasks: tuple[str, ...] = PHOTOS

    @property
    def digits(self) -> bool:
        """Whether its tasks are those of permuted digits."""
        return self.tasks is DIGITS


STUDIES = {
    "fraction": Study(
        "share of a task's weights that is pruned",
        {
            "0.5": {"prune_fraction": 0.5},
            "0.75": {},
            "0.9": {"prune_fraction": 0.9},
            "0.95": {"prune_fraction": 0.95},
        },
    ),
    "retraining": Study(
        "epochs of retraining, of eight in all",
        {
            "0": {"train_epochs": 8, "phases": _NO_RETRAINING},
            "1": {"train_epochs": 7, "retrain_epochs": 1},
            "2": {},
            "4": {"train_epochs": 4, "retrain_epochs": 4},
        },
    ),
    "granularity": Study(
        "single weights or filters, and the share that is pruned",
        {
            "weights, 0.5": {"prune_fraction": 0.5},
            "weights, 0.75": {},
            "filters, 0.5": {"prune_fraction": 0.5, "granularity": "filter"},
            "filters, 0.75": {"granularity": "filter"},
        },
    ),
    "private": Study(
        "normalization, biases and depthwise kernels",
        {
            "a copy for each task": {},
            "frozen": {"network_private": "frozen"},
            "frozen, 1e-3": {
                "network_private": "frozen",
                "learning_rate": 1e-3,
            },
            "frozen, 2.5e-4": {
                "network_private": "frozen",
                "learning_rate": 2.5e-4,
            },
        },
    ),
    "base": Study(
        "share of the base task's weights that is pruned",
        {
            "0.25": {"network_base_prune_fraction": 0.25},
            "0.5": {},
            "0.75": {"network_base_prune_fraction": 0.75},
            "0.9": {"network_base_prune_fraction": 0.9},
        },
    ),
    "shares": Study(
        "twenty tasks: equal shares, or a fixed share pruned",
        {
            "equal shares": {
                "prune_fraction": "equal_share",
                "planned_tasks": len(DIGITS),
            },
            "0.5": {"prune_fraction": 0.5},
            "0.75": {},
            "0.9": {"prune_fraction": 0.9},
        },
        DIGITS,
    ),
}
