"""Reads and writes `names.json`, the new names of renamed tasks.

Packed states never change, so a renamed task keeps its old name inside them.
New names are stored by the tasks' digests, so that none can ever apply to
another task.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from packnet_tf import atomic_files
from packnet_tf.storage import checksums
from packnet_tf.storage.manifest import PackedTask
from packnet_tf.task import Digest, check_task_name


@dataclasses.dataclass(frozen=True)
class _Renames:
    """The content of `names.json`: new names by digest, and a checksum."""

    names: dict[Digest, str]
    sha256: Digest

    def __post_init__(self) -> None:
        for name in self.names.values():
            check_task_name(name)
        if self.sha256 != checksums.checksum(self.names):
            raise ValueError("the checksum differs")


def read_names(path: pathlib.Path) -> dict[str, str]:
    """Returns the new names of tasks, by their digests.

    Args:
        path: The file; it is missing if no task was renamed.

    Raises:
        StateError: If the file is damaged.
    """
    found = checksums.read_checked(
        path,
        _Renames,
        "restore it from a copy, or remove it to go back to the names that "
        "the tasks were packed with",
    )
    return {} if found is None else found.names


def write_names(path: pathlib.Path, names: Mapping[str, str]) -> None:
    """Writes the new names atomically.

    Raises:
        StateError: If the disk is full or read-only.
    """
    record = _Renames(dict(names), checksums.checksum(names))
    atomic_files.write_file(path, checksums.json_bytes(record))


def renamed(
    tasks: Sequence[PackedTask], names: Mapping[str, str]
) -> tuple[PackedTask, ...]:
    """Returns the records of a state's tasks under their current names."""
    return tuple(
        dataclasses.replace(task, name=names.get(task.digest, task.name))
        for task in tasks
    )
