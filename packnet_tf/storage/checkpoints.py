"""Epoch checkpoints of the task in training: one file, written whole.

A checkpoint holds every variable of the network (seed generators included),
the optimizer's, and a record of what has been done. Together with the packed
state it started from, it continues to the same bytes as a run without a
break.
"""

import json
import pathlib
import zipfile
import zlib
from typing import Any

import numpy as np

from packnet_tf import atomic_files
from packnet_tf.errors import StateError
from packnet_tf.model.packnet import PackNet
from packnet_tf.storage.archives import check_array_archive
from packnet_tf.storage.origin import origin_arrays, set_origin

FILE = "checkpoint.npz"
_DIVERGED = "diverged.json"


def save(folder: pathlib.Path, net: PackNet, record: dict[str, Any]) -> None:
    """Writes the checkpoint of the task in training.

    Packed tasks are compared with their digests first, so that a checkpoint
    of a broken network never replaces a good one.

    Args:
        folder: Folder for the file; made if it is missing.
        net: The network.
        record: JSON-able record of what has been done.

    Raises:
        PromiseError: If a packed task has changed.
        StateError: If the disk is full or read-only; the checkpoint before
            stays.
    """
    if not folder.parent.is_dir():
        raise atomic_files.gone(folder.parent)
    net.equalize_replicas()
    net.verify_digests()
    arrays: dict[str, Any] = {
        f"variable_{i}": np.asarray(v) for i, v in _numbered(net)
    }
    if net.optimizer is not None and net.optimizer.built:
        for i, variable in enumerate(net.optimizer.variables):
            arrays[f"optimizer_{i}"] = np.asarray(variable)
    task = net.newest
    if task is not None and task.owner == 1:
        # No packed state keeps it yet.
        arrays.update(origin_arrays(net))
    record = {**record, "task": None if task is None else task.to_dict()}
    arrays["record"] = np.frombuffer(json.dumps(record).encode(), np.uint8)
    with (
        atomic_files.whole_file(folder / FILE) as aside,
        open(aside, "wb") as file,
    ):
        np.savez(file, **arrays)


def read_record(folder: pathlib.Path) -> dict[str, Any] | None:
    """Returns the record of the checkpoint in a folder, or None.

    Raises:
        StateError: If the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    with _open(path) as arrays:
        record = _record_of(arrays, path)
    return {**record, "diverged": _diverged(folder) == _where(record)}


def mark_diverged(folder: pathlib.Path, record: dict[str, Any]) -> None:
    """Remembers that training went wrong after the checkpoint.

    `read_record` then gives `diverged`, until an epoch more is done: the
    phase may go on at another learning rate.

    Args:
        folder: The folder given to `save`.
        record: The record of the phase that went wrong.
    """
    content = json.dumps(_where(record)).encode()
    atomic_files.write_file(folder / _DIVERGED, content)


def _where(record: dict[str, Any]) -> list[Any]:
    return [record.get(key) for key in ("name", "phase", "epoch")]


def _diverged(folder: pathlib.Path) -> list[Any] | None:
    try:
        return json.loads((folder / _DIVERGED).read_bytes())
    except (OSError, ValueError):
        return None


def restore(folder: pathlib.Path, net: PackNet) -> dict[str, Any]:
    """Puts a checkpoint into a network that has the same tasks.

    Args:
        folder: The folder given to `save`.
        net: The network: the packed state, with the task added again, and
            compiled as it was if the phase had begun to train.

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
            net.resume_task(record["task"])
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
                f"options ({error}); remove it to start the task again."
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


def _record_of(arrays, path):
    try:
        return json.loads(arrays["record"].tobytes())
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path, error) -> StateError:
    return StateError(
        f"{path} is damaged ({error}); remove it to start the task again from "
        "the last packed state."
    )
