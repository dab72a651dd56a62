"""The tasks of a network: their records, what they own, which is active."""

import contextlib
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.errors import (
    ConversionError,
    PhaseError,
    PromiseError,
    TaskError,
)
from packnet_tf.layers import Masked, MaskedKernel
from packnet_tf.layers.switch import whole_kernels
from packnet_tf.model import heads, inference, losses
from packnet_tf.model.active import Active, answering_for
from packnet_tf.model.private import PrivateBank, spoil
from packnet_tf.model.protection import Protection
from packnet_tf.model.sealed import Sealed, forbid_adapt
from packnet_tf.task import Task
from packnet_tf.tf_internals.layers import layers_of


class TaskBook(Active):
    """What a network knows of its tasks.

    To a `Trainer` it gives the rules: what the phase of the active task may
    change, and which losses suit it.

    Args:
        backbone: The masked backbone.
        heads: The network's list of heads, one for each task.
        private: As in `PackNet`.
        strategy: The network's strategy.

    Attributes:
        records: The tasks in the order added.
        heads: The list of heads.
        kernels: The masked kernels, in a fixed order.
        bank: The private variables of all tasks.
        weights_missing: Whether the tasks came from a configuration, and
            their weights have not been loaded yet.
        noted_masks: What `note_masks` took note of, or None.
    """

    def __init__(
        self,
        backbone: keras.Model,
        heads: list[keras.Layer],
        private: str,
        strategy: tf.distribute.Strategy,
    ):
        self.records: list[Task] = []
        self.heads = heads
        self.kernels = _kernels_of(backbone)
        super().__init__(strategy)
        for layer in layers_of(backbone):
            if isinstance(layer, Masked):
                layer.follow(self.switch)
        self.bank = PrivateBank(backbone, self.kernels, self.switch, strategy)
        self.weights_missing = False
        self.noted_masks: int | None = None
        self._looked_at: Any = None
        self.sealed = Sealed(backbone, heads)
        forbid_adapt(backbone, lambda: self.packed)
        self._backbone = backbone
        self._frozen = private == "frozen"
        # They are those of now for ever; see `check_whole`.
        self._known = frozenset(id(v) for v in backbone.weights)

    @property
    def newest(self) -> Task | None:
        """The task added last."""
        return self.records[-1] if self.records else None

    @property
    def packed(self) -> list[Task]:
        """The packed tasks, in the order added."""
        return [task for task in self.records if task.packed]

    def named(self, name: str) -> Task:
        """Returns the task of that name.

        Raises:
            TaskError: If there is none; the message lists the tasks.
        """
        for task in self.records:
            if task.name == name:
                return task
        known = ", ".join(t.name for t in self.records) or "none yet"
        raise TaskError(f"Unknown task {name!r}; the tasks are: {known}.")

    def in_training(self, step: str) -> Task:
        """Returns the task in training, if it is active.

        Args:
            step: The method that asks, for the message.

        Raises:
            PhaseError: If no task is in training, or another one is active.
        """
        self.check_loaded()
        task = self.newest
        if task is None:
            raise PhaseError(f"{step}() needs a task; call add_task() first.")
        if task.packed:
            raise PhaseError(
                f"{step}(): task {task.name!r} is packed and final; call "
                "add_task() to go on with a new task."
            )
        if step != "fit":
            self.turns.refuse_others(f"{step}()")
        if self.active is not None and task is not self.active:
            raise PhaseError(
                f"{step}() acts on the task in training, {task.name!r}, but "
                f"{self.active.name!r} is active; call "
                f"activate({task.name!r}) first."
            )
        return task

    def add(
        self, task: Task, head: keras.Layer, pretrained: bool = False
    ) -> None:
        """Adds a task and its head.

        Args:
            task: The record.
            head: The head.
            pretrained: As in `PrivateBank.begin`.
        """
        self.check_loaded()
        self.heads.append(head)
        self.records.append(task)
        self.added(task)
        self.bank.begin(task.owner, pretrained=pretrained)

    def drop_newest(self) -> None:
        """Forgets the newest task, of which the kernels hold nothing more."""
        for variable in self.heads.pop().weights:
            spoil(variable)
        task = self.records.pop()
        self.bank.forget(task.owner)
        self.sealed.forget(task)
        self.switch.forget_fixed()

    def enter(self, task: Task) -> None:
        """Makes everything follow a task and its phase."""
        self.turn_to(task)
        self.bank.freeze(self._frozen and task.owner > 1)

    def private_values(self, task: Task) -> list[np.ndarray]:
        """Returns a task's private variables, whichever task is active."""
        self.check_loaded()
        return self.bank.of(task.owner)

    @contextlib.contextmanager
    def as_newest(self) -> Iterator[None]:
        """Makes this thread read what belongs to the newest task."""
        newest, active = self.newest, self.active
        if newest is None or active is None:
            yield
            return
        self.bank.freeze(self._frozen and newest.owner > 1)
        try:
            # Keras looks at all attributes, and each view would be computed.
            with self.switch.pin(answering_for(newest)), whole_kernels():
                yield
        finally:
            self.bank.freeze(self._frozen and active.owner > 1)

    def capacity(self) -> float:
        """Returns the share of the prunable weights that is free."""
        # Keras asks each time it saves or loads a network.
        masks = [k.owners for k in self.kernels if k.prunable]
        total = sum(mask.size for mask in masks)
        owned = sum(int(np.count_nonzero(mask)) for mask in masks)
        return (total - owned) / total if total else 0.0

    def may_train(
        self, variables: Sequence[keras.Variable]
    ) -> list[keras.Variable]:
        """Returns those that the current phase may change."""
        task = self.active
        if task is None or task.packed:
            return []
        closed = {
            id(v)
            for head in self.heads
            for v in head.weights
            if head is not self.heads[task.owner - 1]
        }
        if self._frozen and task.owner > 1:
            closed.update(id(v) for v in self.bank.variables)
        for claimed, kernel in zip(task.claimed, self.kernels, strict=True):
            if claimed == 0:
                closed.add(id(kernel.variable))
        return [v for v in variables if id(v) not in closed]

    def check_loaded(self) -> None:
        """Refuses tasks of which only the configuration is known.

        Raises:
            PromiseError: If their weights have not been loaded.
        """
        if self.weights_missing:
            raise PromiseError(
                "This network was made from a configuration (clone_model, "
                "from_config, to_json), which has no weights, so its task(s) "
                f"{', '.join(t.name for t in self.records)} cannot be used; "
                "use copy.deepcopy(net) for a copy, or load_weights() with "
                "the file of save_weights()."
            )

    def check_whole(self) -> None:
        """Refuses weights that are missing, or that no mask or copy covers.

        Raises:
            PromiseError: As `check_loaded`.
            ConversionError: If the backbone has new weights.
        """
        self.check_loaded()
        if {id(v) for v in self._backbone.weights} != self._known:
            raise ConversionError(
                f"The backbone {self._backbone.name!r} has other weights than "
                "when this network was made of it; a network takes no new "
                "layers. Change the plain model and make a new PackNet of it."
            )

    def note_masks(self, known: bool = True) -> None:
        """Takes note that a step of the network has changed masks.

        Args:
            known: Whether they are what that step made of them.
        """
        self.noted_masks = self._fingerprint() if known else None

    def refuse_other_masks(self) -> None:
        """Refuses masks that no step of the network made.

        Raises:
            PromiseError: If they are known, and others now.
        """
        if self.noted_masks not in (None, self._fingerprint()):
            raise PromiseError(
                "The masks have changed since weights were claimed or pruned "
                "last, by set_weights() or load_weights() of the backbone or a "
                "layer; use those of the network, which keep what is pruned, "
                "and load the last packed state now."
            )

    def _fingerprint(self) -> int:
        found = 0
        for kernel in self.kernels:
            found = zlib.crc32(np.ascontiguousarray(kernel.owners).data, found)
        return found

    # The rules of training.

    def protection(self, stale_slots: bool) -> Protection:
        """Returns what the current phase may change.

        Args:
            stale_slots: As in `Protection`.

        Raises:
            PhaseError: If no task is in training.
        """
        task = self.in_training("fit")
        self.check_whole()
        return Protection(self.kernels, task.owner, stale_slots)

    def check_step(self, inputs: Any) -> None:
        """Refuses layers that would change packed tasks when they are asked.

        Args:
            inputs: Those of a training step.

        Raises:
            ConversionError: Naming the weight.
        """
        net = None if self.switch.network is None else self.switch.network()
        if net is not None and self._looked_at != self.function_key:
            self._looked_at = self.function_key
            inference.refuse_counters(net, inputs)

    def trains_with(self, loss: Any) -> None:
        """Records that the task in training has been trained with a loss."""
        task = self.in_training("fit")
        task.trained = True
        task.loss = losses.loss_name(loss)

    def check_objective(self, loss: Any, metrics: Any, trains: bool) -> None:
        """Refuses a loss and metrics that do not suit the active task.

        Args:
            loss: As in `compile`.
            metrics: All of them, in any structure.
            trains: Whether they are to be trained with.

        Raises:
            TaskError: Naming what to use instead.
        """
        task = self.active
        if task is None:
            return
        activation: str | None = task.activation
        if activation == "linear" and task.head is not None:
            activation = heads.last_activation(self.heads[task.owner - 1])
        losses.check_loss(task, activation, loss)
        losses.check_metrics(task, activation, loss, metrics)
        if not trains:
            losses.check_evaluated_loss(task, activation, loss)

    def check_labels(self, loss: Any, labels: Any) -> None:
        """Refuses labels that are no classes of the active task.

        Args:
            loss: As in `compile`.
            labels: Arrays, or anything else, of which nothing is known.

        Raises:
            TaskError: Naming the first such label.
        """
        if self.active is not None:
            losses.check_labels(self.active, loss, labels)


def take_over(task: Task, record: Task) -> None:
    """Makes a task's record, which others may hold, equal to another one."""
    for field in Task.__annotations__:
        setattr(task, field, getattr(record, field))


def _kernels_of(backbone: keras.Model) -> tuple[MaskedKernel, ...]:
    """Returns every masked kernel once, in the order of the layers."""
    found: dict[int, MaskedKernel] = {}
    for layer in layers_of(backbone):
        if isinstance(layer, Masked):
            for kernel in layer.masked_kernels():
                found.setdefault(id(kernel.variable), kernel)
    return tuple(found.values())
