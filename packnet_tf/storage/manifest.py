"""The manifest of a packed state: what it holds, and how it was made."""

import pathlib
import re
from collections.abc import Callable
from typing import Any

from packnet_tf.errors import StateError, TaskError
from packnet_tf.storage import checksums
from packnet_tf.task import check_task_name

SCHEMA = 2
_NAME = "manifest"
# The files of a state besides the manifest and its digest.
FILES = ("net.keras", "probe.npz")
_HEX = re.compile(r"[0-9a-f]{64}")


def _from_1(record: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 kept a probe's logits of a program for a fixed batch."""
    return {**record, "schema": 2, "probe": "fixed batch"}


# How a record of an older schema becomes one of the next.
_NEXT: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}


def write(folder: pathlib.Path, record: dict[str, Any]) -> None:
    """Writes `manifest.json` and `manifest.sha256` into a state's folder.

    The digests of the state's files are added to the record here, so call
    it last.
    """
    files = {name: checksums.digest_of_file(folder / name) for name in FILES}
    checksums.write_sealed_json(
        folder, _NAME, {**record, "schema": SCHEMA, "files": files}
    )


def read(folder: pathlib.Path, number: int, name: str) -> dict[str, Any]:
    """Reads and checks a state's manifest.

    Args:
        folder: The state's folder.
        number: Its number, from the folder's name.
        name: Its newest task, from the folder's name.

    Returns:
        The record: `schema`, `number`, `name`, `tasks`, `files`, `machine`,
        `versions`, `origin`, and `probe`, the program of the probe's logits.
        One of an older schema is brought to this release's as it is read.

    Raises:
        StateError: If it is missing, damaged, of another schema, or of
            another state.
    """
    record = checksums.read_sealed_json(folder, _NAME)
    path = folder / f"{_NAME}.json"
    if not isinstance(record, dict) or "schema" not in record:
        raise StateError(f"{path} is damaged: it has no schema.")
    schema = record["schema"]
    if type(schema) is not int or schema not in (*_NEXT, SCHEMA):
        raise StateError(
            f"{path} has schema {schema!r}, this release reads "
            f"{min(_NEXT)} to {SCHEMA}; use the release that wrote it."
        )
    while record["schema"] != SCHEMA:
        record = _NEXT[record["schema"]](record)
    problem = _problem(record)
    if problem:
        raise StateError(f"{path} is damaged: {problem}.")
    if (record["number"], record["name"]) != (number, name):
        raise StateError(
            f"{path} is of state {record['number']:03d}-{record['name']}; "
            f"rename its folder {folder.name} back."
        )
    return record


def data_facts(task: dict[str, Any]) -> dict[str, Any]:
    """Returns how a task saw its images, or nothing if that is not known.

    Args:
        task: The task's record in a manifest.
    """
    facts = (task.get("facts") or {}).get("data")
    return facts if isinstance(facts, dict) else {}


def _problem(record: dict[str, Any]) -> str | None:
    """Returns what is wrong with a record's form, or None."""
    kinds = {
        "number": int,
        "name": str,
        "tasks": list,
        "files": dict,
        "machine": dict,
        "versions": dict,
        "probe": str,
    }
    for key, kind in kinds.items():
        if not isinstance(record.get(key), kind):
            return f"{key!r} is missing or no {kind.__name__}"
    if sorted(record["files"]) != sorted(FILES):
        return f"'files' are not {', '.join(FILES)}"
    if not all(_is_digest(digest) for digest in record["files"].values()):
        return "'files' holds something else than digests"
    tasks = record["tasks"]
    if not tasks:
        return "it has no tasks"
    for owner, task in enumerate(tasks, start=1):
        if not isinstance(task, dict) or task.get("owner") != owner:
            return f"task {owner} is missing"
        names = task.get("class_names")
        if (
            not isinstance(task.get("classes"), int)
            or not _is_digest(task.get("digest"))
            or not (names is None or isinstance(names, list))
            or not all(isinstance(name, str) for name in names or ())
            or not isinstance(task.get("metrics", {}), dict)
            or not isinstance(task.get("facts", {}), dict)
        ):
            return f"the record of task {owner} is not complete"
        try:
            check_task_name(task.get("name", ""))
        except TaskError as error:
            return f"task {owner}: {error}"
    if len(tasks) != record["number"] or tasks[-1]["name"] != record["name"]:
        return "its tasks are not those of its number and name"
    return None


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _HEX.fullmatch(value) is not None
