"""New names of packed tasks: one small file beside the states.

Packed states never change. A task that is renamed keeps its old name inside
them, and `names.json` says what it is called now. Names belong to the digests
of tasks, so that one cannot fall to another task later.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping, Sequence

import msgspec

from packnet_tf import atomic_files
from packnet_tf.errors import StateError
from packnet_tf.storage import checksums
from packnet_tf.storage.manifest import PackedTask
from packnet_tf.task import Digest, check_task_name


@dataclasses.dataclass(frozen=True)
class _Renames:
    """What is in `names.json`: new names by digest, and their checksum."""

    names: dict[Digest, str]
    sha256: Digest

    def __post_init__(self) -> None:
        for name in self.names.values():
            check_task_name(name)
        if self.sha256 != _checksum(self.names):
            raise ValueError("the checksum differs")


def _checksum(names: Mapping[str, str]) -> str:
    return hashlib.sha256(checksums.json_bytes(names)).hexdigest()


def read_names(path: pathlib.Path) -> dict[str, str]:
    """Returns the new names of tasks, by their digests.

    Args:
        path: The file; none means that no task has a new name.

    Raises:
        StateError: If the file is damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise StateError(
            f"{path}: cannot be read ({error.strerror})."
        ) from error
    try:
        return msgspec.json.decode(content, type=_Renames).names
    except (ValueError, RecursionError) as error:
        raise StateError(
            f"{path} is damaged; restore it from a copy, or remove it to go "
            "back to the names that the tasks were packed with."
        ) from error


def write_names(path: pathlib.Path, names: Mapping[str, str]) -> None:
    """Writes the new names, in one step.

    Raises:
        StateError: If the disk is full or read-only.
    """
    record = _Renames(dict(names), _checksum(names))
    atomic_files.write_file(path, checksums.json_bytes(record))


def renamed(
    tasks: Sequence[PackedTask], names: Mapping[str, str]
) -> tuple[PackedTask, ...]:
    """Returns the records of a state's tasks, with their names of now."""
    return tuple(
        dataclasses.replace(task, name=names.get(task.digest, task.name))
        for task in tasks
    )
