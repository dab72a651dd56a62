"""What all cells of a comparison share, and what may not change."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from packnet_tf.data.task_data import TaskData
from packnet_tf.errors import StateError
from packnet_tf.options import fields
from packnet_tf.options.compare import NOT_COMPARED, OF_A_CELL, CompareOptions
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.task import TaskOptions
from packnet_tf.workflow.run_config import facts_of

Value: TypeAlias = bool | int | float | str | None

_COMPARE = ("lora_rank", "ewc_strength", "learning_rates")
_COUNTS = ("classes", "train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class TaskFacts:
    """What is recorded of a task's data.

    Attributes:
        name: The task's name.
        classes: Number of classes.
        train: Training images, with those that are held out of them.
        validation: Validation images of the data's own.
        test: Test images.
    """

    name: str
    classes: int
    train: int
    validation: int
    test: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a comparison keeps to, whatever is added to it.

    Methods and seeds may be added later.

    Attributes:
        settings: Budget, network and rates: the options, by flag.
        tasks: The tasks, in order.
        tuning_seed: The seed that chooses the learning rates.
    """

    settings: dict[str, Value]
    tasks: tuple[TaskFacts, ...]
    tuning_seed: int

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """The rates that each method's is chosen from."""
        return tuple(
            map(float, str(self.settings["learning_rates"]).split(","))
        )


def plan_of(
    data: Sequence[TaskData],
    network: NetworkOptions,
    options: TaskOptions,
    compare: CompareOptions,
) -> Plan:
    """Returns the plan that options and data make.

    Args:
        data: The tasks' data, in order.
        network: The options of the network.
        options: How tasks are trained.
        compare: What is compared.
    """
    settings = {
        **_settings(facts_of(network), without=NOT_COMPARED),
        **_settings(options, without=OF_A_CELL),
        **{name: _flat(getattr(compare, name)) for name in _COMPARE},
    }
    return Plan(settings, tuple(map(_facts, data)), compare.seeds[0])


def _settings(record: Any, without: Sequence[str]) -> dict[str, Value]:
    return {
        one.flag: _flat(getattr(record, one.name))
        for one in fields.declared(type(record))
        if one.name not in without
    }


def _flat(value: Any) -> Value:
    """Returns a value as the command line has it."""
    if isinstance(value, Mapping):
        return ",".join(f"{name}={part}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return value


def _facts(data: TaskData) -> TaskFacts:
    train, validation, test = (
        0 if part is None else len(part)
        for part in (data.train, data.validation, data.test)
    )
    return TaskFacts(data.name, data.classes, train, validation, test)


def check_same(before: Plan, now: Plan, place: Any) -> None:
    """Refuses a plan other than the one that a comparison began with.

    Args:
        before: The recorded plan.
        now: What options and data make.
        place: The comparison's folder, for the message.

    Raises:
        StateError: Naming the first thing that differs.
    """
    old, new = (",".join(t.name for t in p.tasks) for p in (before, now))
    if old != new:
        raise _differs("tasks", old, new, place)
    defaults = {
        one.flag: _flat(one.default)
        for record in (NetworkOptions, TaskOptions)
        for one in fields.declared(record)
    }
    for flag, value in now.settings.items():
        # A flag that is newer than the comparison was at its default.
        was = before.settings.get(flag, defaults.get(flag))
        if was != value:
            raise _differs(flag, was, value, place)
    for first, task in zip(before.tasks, now.tasks, strict=True):
        for count in _COUNTS:
            had, has = getattr(first, count), getattr(task, count)
            if had != has:
                what = "classes" if count == "classes" else f"{count} images"
                raise StateError(
                    f"The data of task {task.name!r} has {has} {what}; the "
                    f"comparison in {place} began with {had}. Give the same "
                    "data, or another --workdir."
                )


def _differs(flag: str, was: Value, now: Value, place: Any) -> StateError:
    return StateError(
        f"--{flag}={now}: the comparison in {place} began with --{flag}={was}; "
        "give the same, or another --workdir."
    )
