"""Which task is active, and for which one a thread computes."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from packnet_tf.layers.switch import Answering, TaskSwitch
from packnet_tf.model.moment import Moment
from packnet_tf.model.turns import Turns
from packnet_tf.task import Task


def answering_for(task: Task, packed: bool | None = None) -> Answering:
    """Returns what says that a program computes for a task.

    Args:
        task: The task.
        packed: Whether it runs as a packed task does; by default if it is.
    """
    packed = task.packed if packed is None else packed
    return Answering(task.owner, packed, since=task.since)


class Active:
    """The part of a book of tasks that says which one is active.

    Args:
        strategy: The network's strategy.

    Attributes:
        records: The tasks in the order added.
        active: The task that the network answers for, or None.
        switch: Says for which task the layers compute.
        turns: Says which thread is inside the network.
        moment: What programs of the task in training compare themselves with.
    """

    records: list[Task]

    def __init__(self, strategy: tf.distribute.Strategy):
        self.active: Task | None = None
        self.switch = TaskSwitch()
        self.turns = Turns()
        self.moment = Moment(strategy)
        # Numbers of tasks are used again after a removal, these are not.
        self._serials: dict[int, int] = {}
        self._added = 0

    def added(self, task: Task) -> None:
        """Notes that a task is new, perhaps with the number of an old one."""
        self._added += 1
        self._serials[task.owner] = self._added

    def turn_to(self, task: Task) -> None:
        """Makes a task, in its phase, the active one."""
        self.active = task
        # A packed task always runs through its view, so that its program is
        # the same for ever; training needs no mask.
        self.switch.turn(answering_for(task))
        self.moment.now = 2 * self._serials[task.owner] + task.packed
        self.turns.entered(task)

    def check_loaded(self) -> None:
        """Refuses tasks of which only the configuration is known."""
        raise NotImplementedError

    @contextlib.contextmanager
    def answering(self, training: Any) -> Iterator[Callable[[Any], Any]]:
        """Makes a forward pass that of one task from its start to its end.

        A program that is traced inside belongs to that task for ever. One
        that trains reads whole kernels, for speed, and so refuses to run
        once the task is packed or another one is active; it gives NaN where
        a compiler drops the check.

        Args:
            training: As in Keras.

        Yields:
            What the outputs have to pass.
        """
        self.check_loaded()
        if self.switch.pinned is not None:
            yield _as_they_are
            return
        self.turns.check_thread(self.active)
        now = self.switch.now
        check: Callable[[Any], Any] = _as_they_are
        if (
            now.owner is not None
            and not now.packed
            and not (training is None or training is False)
            and not tf.executing_eagerly()
        ):
            check = self.moment.check(self.records[now.owner - 1].name)
            now = dataclasses.replace(now, whole=True)
        with self.switch.pin(now):
            yield check

    @property
    def answering_task(self) -> Task | None:
        """The task that this thread computes for now."""
        owner = self.switch.now.owner
        return None if owner is None else self.records[owner - 1]

    def own_program(self) -> contextlib.AbstractContextManager[None]:
        """Makes this thread run the network's own program of what is active.

        The network chooses the program whenever it runs one, so training
        needs no mask in it and no check.
        """
        now = dataclasses.replace(self.switch.active, whole=True)
        return self.switch.pin(now, replicas=True)

    @property
    def function_key(self) -> Any:
        """All that a traced function depends on: the task, and if packed."""
        if self.active is None:
            return None
        return self.active.owner, self.active.packed

    @property
    def objective_key(self) -> Any:
        """The active task: losses and metrics have a state for each."""
        return None if self.active is None else self._serials[self.active.owner]

    @property
    def is_packed(self) -> bool:
        """Whether the active task is packed."""
        return self.active is not None and self.active.packed

    def inside(self, method: str) -> contextlib.AbstractContextManager[None]:
        """Notes that this thread is inside a method of the network."""
        return self.turns.inside(method, self.function_key, self.active)

    def check_running(self) -> None:
        """Refuses to go on for another task than a method began with."""
        self.turns.check_task(self.function_key, self.active)


def _as_they_are(outputs: Any) -> Any:
    return outputs
