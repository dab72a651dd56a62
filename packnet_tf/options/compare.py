"""The options of a comparison of PackNet with other methods."""

import dataclasses
import difflib
import math
from collections.abc import Sequence
from typing import Any

from packnet_tf.errors import FlagError
from packnet_tf.options import fields
from packnet_tf.options.fields import TRAINING, option, options_of

training = options_of(TRAINING)

METHODS = (
    "packnet",
    "individual",
    "classifier_only",
    "private_only",
    "joint",
    "finetune",
    "lwf",
    "ewc",
    "piggyback",
    "lora",
    "delta",
)

# Options of a task that the comparison sets itself, for each cell.
OF_A_CELL = (
    "task",
    "phases",
    "planned_tasks",
    "learning_rate",
    "retrain_learning_rate",
    "seed",
)
# Options of a network that have no part in a comparison: there is no base
# task to recover, only added tasks are measured; and what is private is the
# same for all methods.
NOT_COMPARED = (
    "base_task",
    "base_recovery",
    "base_recovery_epochs",
    "base_learning_rate",
    "private",
    "depthwise",
)


def _check_methods(methods: Sequence[str]) -> None:
    for name in methods:
        if name not in METHODS:
            close = difflib.get_close_matches(name, METHODS, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise FlagError(
                f"--methods={','.join(methods)}: unknown method {name!r}; "
                f"{hint}Expected some of {', '.join(METHODS)}."
            )


def _numbers(flag: str, kind: type) -> Any:
    """Returns what parses a list of numbers, and names one that is none."""

    def parse(texts: Sequence[str]) -> tuple[Any, ...]:
        found = []
        for text in texts:
            try:
                found.append(kind(text))
            except ValueError as error:
                what = "whole numbers" if kind is int else "numbers"
                raise FlagError(
                    f"--{flag}={','.join(texts)}: {text!r} is not a number; "
                    f"expected {what}, separated by commas."
                ) from error
        return tuple(found)

    return parse


@dataclasses.dataclass(frozen=True)
class CompareOptions:
    """What is compared, and how often."""

    tasks: tuple[str, ...] = option(
        "Names of the tasks, in the order in which they are learned.",
        parse=tuple,
        basic=True,
    )
    methods: tuple[str, ...] = option(
        f"Some of {', '.join(METHODS)}.",
        ("packnet", "individual", "classifier_only"),
        check=_check_methods,
        parse=tuple,
        basic=True,
    )
    seeds: tuple[int, ...] = training(
        "Seeds that every method is run with; the first one chooses the "
        "learning rates.",
        (0, 1, 2),
        parse=_numbers("seeds", int),
        basic=True,
    )
    learning_rates: tuple[float, ...] = training(
        "Peak learning rates; each method gets the one of the best mean "
        "validation accuracy.",
        (2.5e-4, 1e-3, 4e-3),
        parse=_numbers("learning_rates", float),
        basic=True,
    )
    lora_rank: int = training("Rank of lora's adapters.", 8, at_least=1)
    ewc_strength: float = training(
        "Weight of ewc's penalty.", 1000.0, at_least=0
    )

    def __post_init__(self) -> None:
        for flag in ("tasks", "methods", "seeds", "learning_rates"):
            values = getattr(self, flag)
            shown = ",".join(map(str, values))
            if not values or "" in values:
                raise FlagError(
                    f"--{flag}={shown}: expected one or more, separated by "
                    "commas."
                )
            twice = [v for i, v in enumerate(values) if v in values[:i]]
            if twice:
                raise FlagError(
                    f"--{flag}={shown}: {twice[0]} is given twice; give it "
                    "once."
                )
        fields.check(self)
        limits = (
            ("seeds", lambda seed: 0 <= seed < 2**32, f"0 to {2**32 - 1}"),
            ("learning_rates", lambda rate: 0 < rate < math.inf, "more than 0"),
        )
        for flag, within, expected in limits:
            values = getattr(self, flag)
            for value in values:
                if not within(value):
                    raise FlagError(
                        f"--{flag}={','.join(map(str, values))}: {value} is "
                        f"out of range; expected {expected}."
                    )
