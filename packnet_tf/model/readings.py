"""What a network tells of its tasks: names, values, owners, digests."""

from collections.abc import Sequence

import keras
import numpy as np

from packnet_tf.layers import MaskedKernel
from packnet_tf.masks import ownership
from packnet_tf.model import private, promise
from packnet_tf.model.tasks import TaskBook
from packnet_tf.task import Task


class Readings:
    """The part of a `PackNet` that reads its book of tasks."""

    book: TaskBook
    backbone: keras.Model

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks in the order added."""
        return tuple(self.book.records)

    @property
    def active_task(self) -> Task | None:
        """The task that the network answers for now."""
        return self.book.active

    @property
    def newest(self) -> Task | None:
        """The task added last."""
        return self.book.newest

    @property
    def phase(self) -> str | None:
        """Phase of the active task: train, retrain or packed."""
        return self.book.active.phase if self.book.active else None

    @property
    def capacity(self) -> float:
        """Share of the prunable weights that is free, from 0 to 1."""
        return self.book.capacity()

    @property
    def pretrained_kernels(self) -> Sequence[np.ndarray] | None:
        """Kernels before the base task was pruned, or None if unknown.

        They are the origin of new tasks with `origin="pretrained"`, and are
        kept beside the files of the network, not inside them. Those of a
        packed state are read from its workdir when they are asked for.
        """
        return self.book.bank.pretrained

    @pretrained_kernels.setter
    def pretrained_kernels(self, values: Sequence[np.ndarray] | None) -> None:
        kernels = [k.variable for k in self.book.kernels]
        self.book.bank.pretrained = private.fitting(
            values, kernels, "pretrained_kernels", "kernels"
        )

    @property
    def pretrained_private(self) -> list[np.ndarray] | None:
        """Private variables before the base task was pruned, or None.

        What `pretrained_kernels` are for the kernels; kept with them.
        """
        return self.book.bank.pretrained_private

    @pretrained_private.setter
    def pretrained_private(self, values: Sequence[np.ndarray] | None) -> None:
        variables = self.book.bank.variables
        self.book.bank.pretrained_private = private.fitting(
            values, variables, "pretrained_private", "private variables"
        )

    @property
    def private_variables(self) -> list[keras.Variable]:
        """The private variables; they hold the active task's values."""
        return list(self.book.bank.variables)

    @property
    def constants(self) -> list[keras.Variable]:
        """Preprocessing statistics, shared by all tasks."""
        return list(self.book.bank.constants)

    def masked_kernels(self) -> list[MaskedKernel]:
        """Returns every masked kernel of the backbone, in a fixed order."""
        return list(self.book.kernels)

    def task(self, name: str) -> Task:
        """Returns the task of that name.

        Raises:
            TaskError: If there is none; the message lists the tasks.
        """
        return self.book.named(name)

    def private_values(self, name: str) -> list[np.ndarray]:
        """Returns a task's private variables, whichever task is active."""
        return self.book.private_values(self.task(name))

    def digest_of(self, name: str) -> str:
        """Returns a task's digest as it is now (hexadecimal SHA-256)."""
        return promise.digests_of(self.book, [self.task(name)])[0]

    def digests(self) -> dict[str, str]:
        """Returns every task's digest as it is now, by name.

        As `digest_of` of each, in one pass over the weights.
        """
        tasks = self.tasks
        found = promise.digests_of(self.book, tasks)
        return dict(zip([task.name for task in tasks], found, strict=True))

    def verify_digests(self) -> None:
        """Compares every packed task with what it was when it was packed.

        Raises:
            PromiseError: Naming the tasks that differ.
        """
        promise.verify_digests(self.book)

    def verify_architecture(self) -> None:
        """Compares the settings of all layers with those of packed tasks.

        `verify_digests` does it too.

        Raises:
            PromiseError: Naming the tasks, the layer and the setting.
        """
        self.book.sealed.refuse_changed(self.book.packed)

    def refuse_not_finite(self, name: str) -> None:
        """Refuses to hand on a task with weights that are NaN or infinite.

        Raises:
            TaskError: Naming the first such variable.
        """
        promise.refuse_not_finite(
            self.book,
            self.task(name),
            "it was trained to that and cannot answer. Go back to the packed "
            "state before it, and train it again with a lower learning rate.",
        )

    def ownership(self) -> list[tuple[str, tuple[int, ...], dict[int, int]]]:
        """Returns for each kernel its path, shape and weights by owner.

        They are in the order of the network, from its input on.
        """
        places = {id(v): i for i, v in enumerate(self.backbone.weights)}
        return [
            (
                k.path,
                tuple(k.variable.shape),
                ownership.count(k.owners),
            )
            for k in sorted(
                self.book.kernels, key=lambda k: places[id(k.variable)]
            )
        ]

    def owner_totals(self) -> dict[int, int]:
        """Returns how many weights each owner has in all; 0 has the free."""
        return ownership.totals(k.owners for k in self.book.kernels)

    def summary_of_tasks(self) -> str:
        """Returns a table of who owns what, and what is left."""
        return table_of(self.tasks, self.owner_totals())


def table_of(tasks: Sequence[Task], totals: dict[int, int]) -> str:
    """Returns a table of who owns what, and what is left.

    Args:
        tasks: The tasks.
        totals: How many weights each owner has.
    """
    everything = sum(totals.values()) or 1
    lines = [
        f"{'task':<20} {'phase':<8} {'classes':>7} {'weights':>12} {'share':>6}"
    ]
    rows = [(t.name, t.phase, t.classes, t.owner) for t in tasks]
    for name, phase, classes, owner in [
        *rows,
        ("(free)", "", "", ownership.FREE),
    ]:
        own = totals.get(owner, 0)
        lines.append(
            f"{name:<20} {phase:<8} {classes:>7} {own:>12,} "
            f"{own / everything:>6.1%}"
        )
    return "\n".join(lines)
