"""Reads all that a report shows from a workdir: manifests and networks."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from packnet_tf import metrics
from packnet_tf.console import Report
from packnet_tf.model.packnet import PackNet
from packnet_tf.options import fractions
from packnet_tf.report.curves import Curve, curve_of, number
from packnet_tf.report.recognition import Measured, Recognition, measure
from packnet_tf.storage import states
from packnet_tf.storage.manifest import PackedTask
from packnet_tf.storage.workdir import StateInfo, Workdir
from packnet_tf.workflow.report import size_of


@dataclasses.dataclass(frozen=True)
class KernelOwners:
    """Who owns how much of one kernel.

    Attributes:
        path: The kernel's path in the network.
        weights: How many weights it has.
        shares: Array of shape [1 + tasks]: the share that is free, then the
            share of each task, from 0 to 1.
    """

    path: str
    weights: int
    shares: np.ndarray


@dataclasses.dataclass(frozen=True)
class Accuracies:
    """The accuracy of every task in every state.

    Attributes:
        matrix: R, of shape [tasks, tasks]; see `packnet_tf.metrics`.
        measured: Boolean array of the same shape: what was measured for this
            report. The rest was recorded when the task was packed, and stands
            where the state has the task with an unchanged digest.
        missing: Why a task has no accuracy, by its owner.
    """

    matrix: np.ndarray
    measured: np.ndarray
    missing: dict[int, str]

    def summary(self) -> tuple[float, float | None, float | None] | None:
        """Returns average accuracy, forgetting and backward transfer.

        They are those of `packnet_tf.metrics`, in the newest of all states,
        of the tasks whose accuracy is known in all their states; None if
        there is no such task. The last two are of those before the newest
        task; None if there are older tasks, but none of them is known.
        """
        known = self.known
        if not len(known):
            return None
        average = metrics.average_accuracy(self.matrix, known)
        newest = len(self.matrix) - 1
        if newest and not np.any(known < newest):
            return average, None, None
        return (
            average,
            metrics.forgetting(self.matrix, known),
            metrics.backward_transfer(self.matrix, known),
        )

    @property
    def known(self) -> np.ndarray:
        """The places of the tasks whose accuracy is known in all states."""
        lower = np.tri(len(self.matrix), dtype=bool)
        gaps = np.isnan(self.matrix) & lower
        return np.flatnonzero(~gaps.any(axis=0))


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What a state takes, in bytes, beside separate networks.

    Attributes:
        tasks: How many tasks it has.
        network: Its Keras file, as it is on disk.
        served: Its SavedModel, or None if there is none.
        separate: The weights of as many separate networks: a whole backbone
            and a head for each task.
    """

    tasks: int
    network: int
    served: int | None
    separate: int


@dataclasses.dataclass(frozen=True)
class Reading:
    """All that a report shows of a workdir.

    Attributes:
        workdir: Its path, as text.
        state: The newest of the states shown.
        kernels: One for each kernel, in the network's order.
        owned: Weights by owner; 0 has the free ones.
        accuracies: See there.
        curves: The training of each task, None where there is no record.
        prune_fraction: The fraction for the forecast of further tasks.
        room: The shares that further tasks will keep at that fraction.
        sizes: One for each state.
        recognition: One for each task with test images.
        untested: Why a task has none, by its owner.
    """

    workdir: str
    state: StateInfo
    kernels: tuple[KernelOwners, ...]
    owned: dict[int, int]
    accuracies: Accuracies
    curves: tuple[Curve | None, ...]
    prune_fraction: float
    room: tuple[float, ...]
    sizes: tuple[Sizes, ...]
    recognition: tuple[Recognition, ...]
    untested: dict[int, str]

    @property
    def tasks(self) -> tuple[PackedTask, ...]:
        """The tasks, in order."""
        return self.state.tasks

    @property
    def capacity(self) -> np.ndarray:
        """The share of the weights of each task, of shape [tasks]."""
        return metrics.capacity_by_task(self.owned, len(self.tasks))

    @property
    def free(self) -> np.ndarray:
        """The share that was free after each task, of shape [tasks]."""
        total = sum(self.owned.values())
        counts = [self.owned.get(task.owner, 0) for task in self.tasks]
        return (total - np.cumsum(counts)) / total


def read(
    workdir: Workdir,
    which: str | int | None = None,
    *,
    evaluate: bool = True,
    places: Mapping[str, str] | None = None,
    data_dir: str | None = None,
    batch_size: int = 32,
    prune_fraction: float = 0.75,
    progress: Report = lambda done, total: None,
) -> Reading:
    """Reads a workdir up to one of its packed states.

    Args:
        workdir: The workdir.
        which: The packed state; the newest if None.
        evaluate: Whether tasks answer on their test images. Otherwise
            accuracies are those that were recorded.
        places: See `measure`, as for `data_dir`, `batch_size` and `progress`.
        prune_fraction: The fraction for the forecast of further tasks.

    Raises:
        PackNetError: Saying in one line what is wrong and what to do.
    """
    net, state = states.load(workdir, which, origin=False)
    chosen = [s for s in workdir.states() if s.number <= state.number]
    measured = Measured(missing={t.owner: "not evaluated" for t in state.tasks})
    if evaluate:
        measured = measure(
            workdir,
            net,
            chosen,
            places or {},
            data_dir=data_dir,
            batch_size=batch_size,
            progress=progress,
        )
    return Reading(
        workdir=str(workdir.path),
        state=state,
        kernels=tuple(_kernels(net)),
        owned=net.owner_totals(),
        accuracies=_accuracies(chosen, measured),
        curves=tuple(
            curve_of(task.name, task.metrics, task.facts)
            for task in state.tasks
        ),
        prune_fraction=prune_fraction,
        room=tuple(fractions.room(net.capacity, prune_fraction)),
        sizes=tuple(_sizes(workdir, net, one) for one in chosen),
        recognition=tuple(measured.recognition),
        untested=measured.missing,
    )


def _kernels(net: PackNet) -> list[KernelOwners]:
    owners = range(len(net.tasks) + 1)
    found = []
    for path, _, counts in net.ownership():
        weights = sum(counts.values())
        shares = np.array([counts.get(o, 0) for o in owners]) / max(weights, 1)
        found.append(KernelOwners(path, weights, shares))
    return found


def _accuracies(chosen: Sequence[StateInfo], found: Measured) -> Accuracies:
    tasks = chosen[-1].tasks
    matrix = np.full((len(tasks), len(tasks)), np.nan)
    measured = np.zeros(matrix.shape, bool)
    missing = {}
    for task in tasks:
        recorded = number(task.metrics.get("test_accuracy"))
        if not 0 <= recorded <= 1:
            recorded = float("nan")
        for state in chosen[-1::-1]:
            if state.number < task.owner:
                break
            place = state.number - 1, task.owner - 1
            share = found.accuracy.get((state.number, task.owner))
            if share is not None:
                matrix[place], measured[place] = share, True
            elif state.tasks[task.owner - 1].digest == task.digest:
                matrix[place] = recorded
        if math.isnan(recorded) and not measured[:, task.owner - 1].any():
            missing[task.owner] = (
                f"none was recorded; {found.missing[task.owner]}"
                if task.classes
                else "it has no head"
            )
    return Accuracies(matrix, measured, missing)


def _sizes(workdir: Workdir, net: PackNet, state: StateInfo) -> Sizes:
    shared = [k.variable for k in net.masked_kernels()]
    backbone = _bytes([*shared, *net.private_variables, *net.constants])
    heads = 0
    for task in net.tasks[: state.number]:
        head = net.head_of(task.name)
        heads += 0 if head is None else _bytes(head.weights)
    served = [
        folder / str(state.number)
        for folder in sorted(workdir.serving_path.glob("*"))
        if (folder / str(state.number)).is_dir()
    ]
    return Sizes(
        state.number,
        size_of(state.network_path),
        size_of(served[0]) if served else None,
        backbone * state.number + heads,
    )


def _bytes(variables) -> int:
    return sum(
        math.prod(variable.shape) * tf.as_dtype(variable.dtype).size
        for variable in variables
    )
