"""Which task the layers of a network compute for, in each thread."""

import contextlib
import dataclasses
import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from packnet_tf.errors import ConversionError, PhaseError
from packnet_tf.tf_internals.variables import entry_model


@dataclasses.dataclass(frozen=True)
class Answering:
    """For which task, and in which phase, a program computes.

    Attributes:
        owner: The task's number, or None before there is one.
        packed: Whether the task is packed.
        whole: Whether its kernels are read without a mask while it trains.
            It sees all that is not 0 then, and so must not be read after
            another task has been added.
        since: The first owner after the first task whose weights it reads;
            see `Task.since`.
    """

    owner: int | None = None
    packed: bool = False
    whole: bool = False
    since: int = 2


class _Pinned(threading.local):
    answering: Answering | None = None


class Within(threading.local):
    """A context that a thread may be inside of, any number of times.

    Attributes:
        depth: How often the calling thread is inside.
    """

    depth: int = 0

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Is inside, for this thread, as long as the block runs."""
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1


_whole = Within()


def whole_kernels() -> contextlib.AbstractContextManager[None]:
    """Makes this thread read kernels without masks, whatever is active."""
    return _whole.entered()


def reads_whole_kernels() -> bool:
    """Whether this thread is inside `whole_kernels`."""
    return _whole.depth > 0


class TaskSwitch:
    """Says for which task a network's layers compute, where they are called.

    That is the active task, or one that is pinned to the thread. A program
    captures what its task reads, and so belongs to that task.

    Attributes:
        active: What holds wherever nothing is pinned.
        network: The network, which chooses its own programs.
    """

    def __init__(self) -> None:
        self.active = Answering()
        self.network: weakref.ref[Any] | None = None
        self._pinned = _Pinned()
        # A strategy runs its replicas in threads of its own.
        self._replicas_pin: Answering | None = None
        self._followers: weakref.WeakSet[keras.Model] = weakref.WeakSet()
        self._fixed: weakref.WeakSet[keras.Model] = weakref.WeakSet()

    @property
    def pinned(self) -> Answering | None:
        """What is pinned to this thread, or None."""
        pin = self._pinned.answering
        if pin is None and self._replicas_pin is not None and _on_replica():
            return self._replicas_pin
        return pin

    @property
    def now(self) -> Answering:
        """What holds in this thread."""
        pin = self.pinned
        if pin is None:
            self._remember_model(self._followers)
            return self.active
        return pin

    @property
    def view(self) -> Answering | None:
        """The task whose view is read; None for all weights."""
        now = self.now
        if (
            not now.packed
            and now.since == 2
            and (now.whole or tf.executing_eagerly())
        ):
            return None
        # A traced program may outlive the training of its task.
        return None if now.owner is None else now

    @contextlib.contextmanager
    def pin(
        self, answering: Answering, replicas: bool = False
    ) -> Iterator[None]:
        """Makes this thread compute for a task, whichever is active.

        Args:
            answering: The task.
            replicas: Whether this thread runs replicas, which follow it.
        """
        pinned = self._pinned
        before, pinned.answering = pinned.answering, answering
        outer = self._replicas_pin
        if replicas:
            self._replicas_pin = answering
        try:
            yield
        finally:
            pinned.answering = before
            if replicas:
                self._replicas_pin = outer

    def may_move(self) -> bool:
        """Whether a forward pass may move statistics: not a packed task's."""
        pin = self.pinned
        return pin is None or not pin.packed

    def turn(self, active: Answering) -> None:
        """Makes another task, or phase, the active one.

        Keras models that were made over the network's layers remember
        programs of the task before, and forget them.
        """
        if active != self.active:
            self.active = active
            _forget_programs(self._followers)

    def refuse_another(self, layer: str) -> None:
        """Refuses that a layer becomes part of another network too.

        Raises:
            ConversionError: If the network that has it is still used.
        """
        network = None
        if self.network is not None and self.network() is not None:
            gc.collect()  # One that nobody has any more may be in a cycle.
            network = self.network()
        if network is not None:
            raise ConversionError(
                f"Layer {layer!r} is part of the network {network.name!r}, "
                "and a second network would make it follow the tasks of both; "
                "build the model once more, or use copy.deepcopy() of that "
                "network."
            )

    def refuse_part(self, layer: str) -> None:
        """Refuses a file or copy of a layer for an older task than the newest.

        It would have that task's private variables beside weights of later
        tasks.

        Raises:
            PhaseError: If this thread does not compute for the newest task.
        """
        network = None if self.network is None else self.network()
        newest = None if network is None else network.newest
        if newest is not None and self.now.owner != newest.owner:
            raise PhaseError(
                f"Layer {layer!r} computes for an older task than "
                f"{newest.name!r}, and a file or copy of it alone would mix "
                "their weights; use packnet_tf.extract(net, task) for one "
                "task, or net.save() and copy.deepcopy(net) for all."
            )

    def fix_model(self) -> None:
        """Notes a Keras model whose program is of a pinned task."""
        self._remember_model(self._fixed)

    def forget_fixed(self) -> None:
        """Makes the models that were noted trace their programs again."""
        _forget_programs(self._fixed)

    def _remember_model(self, models: weakref.WeakSet[keras.Model]) -> None:
        """Notes the Keras model, if the program of one is being traced."""
        if not tf.executing_eagerly():
            model = entry_model()
            network = None if self.network is None else self.network()
            if model is not None and model is not network:
                models.add(model)


def _on_replica() -> bool:
    return (
        tf.distribute.has_strategy()
        and not tf.distribute.in_cross_replica_context()
    )


def _forget_programs(models: weakref.WeakSet[keras.Model]) -> None:
    traced = list(models)
    models.clear()
    for model in traced:
        model.train_function = None
        model.test_function = None
        model.predict_function = None
