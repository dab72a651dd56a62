"""Writes and restores the epoch checkpoint of the task in training.

A checkpoint holds every variable of the network and the optimizer (seed
generators included) and a record of the work done. A run resumed from it and
its packed state has the same bytes as one without interruption.
"""

import dataclasses
import hashlib
import json
import pathlib
import zipfile
import zlib
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta

from packnet_tf import atomic_files
from packnet_tf.errors import StateError, first_line
from packnet_tf.model import workers
from packnet_tf.model.packnet import PackNet
from packnet_tf.storage.origin import origin_arrays, set_origin
from packnet_tf.task import Count, Task
from packnet_tf.tf_internals.workers import are_several
from packnet_tf.untrusted.archives import check_array_archive

FILE = "checkpoint.npz"
_DIVERGED = "diverged.json"

Trained = Annotated[str, Meta(pattern=r"\A(recovery|train|retrain)\Z")]
Done = Annotated[str, Meta(pattern=r"\A(train|prune|retrain|pack)\Z")]
Value: TypeAlias = bool | int | float | str | None


@dataclasses.dataclass(frozen=True)
class Pruning:
    """How a task was pruned.

    Attributes:
        fraction: Fraction of its weights that was pruned.
        scope: How they were ranked; see `PackNet.prune`.
        granularity: What was ranked; see `PackNet.prune`.
        gradual_epochs: Epochs of retraining that pruning was spread over.
        tolerance: The points of accuracy that a search for the fraction
            allowed, or None if the fraction was given.
    """

    fraction: float
    scope: str
    granularity: str
    gradual_epochs: Count
    tolerance: float | None = None


@dataclasses.dataclass
class TrainingRecord:
    """The work done on a task in training.

    Attributes:
        name: The task's name.
        phase: The phase in training, or None between phases.
        epoch: How many of its epochs are finished.
        done: Phases that are finished.
        pruning: How it was pruned, one entry each time.
        metrics: Its figures so far, by name.
        seconds: How long its phases took, by name.
        history: Figures of each epoch.
        settings: The settings that a resumed run must share, by phase.
        images: The image options that all phases must share, or None in older
            records.
        gradual: Fractions to prune to in the first epochs of retraining.
        task: The task's own record, always present in a checkpoint.
        diverged: Whether training diverged after the checkpoint; kept in a
            separate file.
    """

    name: str
    phase: Trained | None = None
    epoch: Count = 0
    done: list[Done] = dataclasses.field(default_factory=list)
    pruning: list[Pruning] = dataclasses.field(default_factory=list)
    metrics: dict[str, int | float] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    history: list[dict[str, str | int | float]] = dataclasses.field(
        default_factory=list
    )
    settings: dict[str, dict[str, Value]] = dataclasses.field(
        default_factory=dict
    )
    images: dict[str, Value] | None = None
    gradual: list[Annotated[float, Meta(ge=0, le=1)]] = dataclasses.field(
        default_factory=list
    )
    task: Task | None = None
    diverged: bool = False

    @property
    def place(self) -> list[str | int | None]:
        """Identifies the last finished epoch among those of all phases."""
        return [self.name, self.phase, self.epoch]

    def to_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint stores of it, JSON-able."""
        found = dataclasses.asdict(self)
        del found["diverged"]
        return found


def save(folder: pathlib.Path, net: PackNet, record: TrainingRecord) -> None:
    """Writes the checkpoint of the task in training.

    Packed tasks are checked against their digests first, so that a broken
    network never replaces a good checkpoint.

    Of several workers the chief alone writes. The others wait for it, and go
    on from the file if what they have is not the same to the byte.

    Args:
        folder: Folder for the file; made if it is missing.
        net: The network.
        record: The work done.

    Raises:
        PromiseError: If a packed task has changed.
        StateError: If the disk is full or read-only, which keeps the previous
            checkpoint, or the workdir is gone.
    """
    if not folder.parent.is_dir():
        raise atomic_files.gone(folder.parent)
    net.equalize_replicas()
    net.verify_digests()
    values = _values_of(net)
    arrays = dict(values)
    task = net.newest
    if task is not None and task.owner == 1:
        # No packed state keeps it yet.
        arrays.update(origin_arrays(net))
    written = dataclasses.replace(record, task=task).to_dict()
    content = json.dumps(written).encode()
    strategy = net.distribute_strategy
    if workers.is_chief(strategy):
        arrays["record"] = np.frombuffer(content, np.uint8)
        arrays["record_sha256"] = _digest(content)
        with (
            atomic_files.whole_file(folder / FILE) as aside,
            open(aside, "wb") as file,
        ):
            np.savez(file, **arrays)
    if not are_several(strategy) or _workers_agree(strategy, values):
        return
    restore(folder, net)
    if not _workers_agree(strategy, _values_of(net)):
        raise StateError(
            f"{folder / FILE}: not every worker reads there what the chief has "
            "written; give a folder that all machines share as --workdir, and "
            "start all workers again."
        )


def _values_of(net: PackNet) -> dict[str, Any]:
    """Returns the values of the network and its optimizer, by their keys."""
    values: dict[str, Any] = {
        f"variable_{i}": np.asarray(v) for i, v in _numbered(net)
    }
    if net.optimizer is not None and net.optimizer.built:
        for i, variable in enumerate(net.optimizer.variables):
            values[f"optimizer_{i}"] = np.asarray(variable)
    return values


def _workers_agree(strategy: Any, values: dict[str, Any]) -> bool:
    """Whether all workers have the same values, once all have come here."""
    content = hashlib.sha256()
    for name, value in values.items():
        content.update(name.encode())
        content.update(np.ascontiguousarray(value).data)
    return workers.agree(strategy, content.digest())


def read_record(folder: pathlib.Path) -> TrainingRecord | None:
    """Returns the record of the checkpoint in a folder, or None.

    Raises:
        StateError: If the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    with _open(path) as arrays:
        record = _record_of(arrays, path)
    record.diverged = _diverged(folder) == record.place
    return record


def mark_diverged(folder: pathlib.Path, record: TrainingRecord) -> None:
    """Notes that training diverged after the checkpoint.

    `read_record` sets `diverged` until another epoch is finished, since the
    phase may continue with another learning rate.

    Args:
        folder: The folder given to `save`.
        record: The record of the phase that diverged.
    """
    content = json.dumps(record.place).encode()
    atomic_files.write_file(folder / _DIVERGED, content)


def _diverged(folder: pathlib.Path) -> list[Any] | None:
    try:
        return json.loads((folder / _DIVERGED).read_bytes())
    except (OSError, ValueError):
        return None


def restore(folder: pathlib.Path, net: PackNet) -> TrainingRecord:
    """Restores a checkpoint into a network with the same tasks.

    Args:
        folder: The folder given to `save`.
        net: The packed state with the task added again, compiled as before if
            the phase had started training.

    Returns:
        The record.

    Raises:
        StateError: If the file is damaged or of another network.
        PromiseError: If it would change a packed task.
    """
    path = folder / FILE
    with _open(path) as arrays:
        record = _record_of(arrays, path)
        try:
            for i, variable in _numbered(net):
                variable.assign(arrays[f"variable_{i}"])
            if record.task is None:
                raise ValueError("it has no task")
            net.resume_task(record.task.to_dict())
            set_origin(net, arrays)
            if "optimizer_0" in arrays and net.optimizer is not None:
                if not net.optimizer.built:
                    with net.distribute_strategy.scope():
                        net.optimizer.build(net.trainable_variables)
                for i, variable in enumerate(net.optimizer.variables):
                    variable.assign(arrays[f"optimizer_{i}"])
        except (KeyError, ValueError) as error:
            raise StateError(
                f"{path} is not a checkpoint of this network and these "
                f"options ({first_line(error)}); remove it to start the "
                "task again."
            ) from error
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise _damaged(path, error) from error
    net.verify_digests()
    return record


def remove(folder: pathlib.Path) -> None:
    """Removes the checkpoint, if there is one."""
    for name in (FILE, _DIVERGED):
        atomic_files.remove_file(folder / name)


def _numbered(net):
    return enumerate(net.variables)


def _open(path):
    try:
        check_array_archive(path)
        return np.load(path, allow_pickle=False)
    except Exception as error:
        raise _damaged(path, error) from error


def _record_of(
    arrays: Mapping[str, np.ndarray], path: pathlib.Path
) -> TrainingRecord:
    try:
        content = arrays["record"].tobytes()
        if "record_sha256" in arrays and not np.array_equal(
            arrays["record_sha256"], _digest(content)
        ):
            raise ValueError("the record's digest differs")
        found = json.loads(content)
        if found["phase"] == "recovery" and "seed" in found["settings"]:
            # Release 0.1 did not nest this phase's settings.
            found["settings"] = {"recovery": found["settings"]}
        return msgspec.convert(found, TrainingRecord)
    except Exception as error:
        raise _damaged(path, error) from error


def _digest(content: bytes) -> np.ndarray:
    return np.frombuffer(hashlib.sha256(content).digest(), np.uint8)


def _damaged(path, error) -> StateError:
    return StateError(
        f"{path} is damaged ({first_line(error)}); remove it to start the task "
        "again from the last packed state."
    )
