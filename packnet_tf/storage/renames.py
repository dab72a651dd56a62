"""New names of packed tasks: one small file beside the states.

Packed states never change. A task that is renamed keeps its old name inside
them, and `names.json` says what it is called now. Names belong to the digests
of tasks, so that one cannot fall to another task later.
"""

import hashlib
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from packnet_tf import atomic_files
from packnet_tf.errors import StateError, TaskError
from packnet_tf.storage import checksums
from packnet_tf.task import check_task_name

_DIGEST = re.compile(r"[0-9a-f]{64}")


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
        record = json.loads(content)
        names = dict(record["names"])
        for digest, name in names.items():
            check_task_name(name)
            if not _DIGEST.fullmatch(digest):
                raise ValueError(digest)
        intact = content == _content(names)
    except (ValueError, KeyError, TypeError, RecursionError, TaskError):
        intact = False
    if not intact:
        raise StateError(
            f"{path} is damaged; restore it from a copy, or remove it to go "
            "back to the names that the tasks were packed with."
        )
    return names


def write_names(path: pathlib.Path, names: Mapping[str, str]) -> None:
    """Writes the new names, in one step.

    Raises:
        StateError: If the disk is full or read-only.
    """
    atomic_files.write_file(path, _content(dict(names)))


def renamed(
    tasks: list[dict[str, Any]], names: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Returns the records of a state's tasks, with their names of now."""
    return [
        {**task, "name": names.get(task["digest"], task["name"])}
        for task in tasks
    ]


def _content(names: dict[str, str]) -> bytes:
    digest = hashlib.sha256(checksums.json_bytes(names)).hexdigest()
    return checksums.json_bytes({"names": names, "sha256": digest})
