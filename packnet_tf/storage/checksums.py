"""Records digests of files, and finds the files that were damaged.

A folder's record is a JSON file with the digests of its other files; a second
file beside it holds the record's own digest.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from packnet_tf.atomic_files import files_below
from packnet_tf.errors import StateError, first_line
from packnet_tf.task import DIGEST, Digest, Task

_Record = TypeVar("_Record")

# TensorFlow Serving ignores other files in this folder of a SavedModel.
_EXTRA = "assets.extra"
_RECORD = "packnet"


def digest_of_file(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file's bytes (hexadecimal).

    Raises:
        StateError: If the file is missing or cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def digests_below(folder: pathlib.Path) -> dict[str, str]:
    """Returns the digest of every file below a folder, by relative path."""
    return {
        file.relative_to(folder).as_posix(): digest_of_file(file)
        for file in files_below(folder)
    }


def check_digests(
    folder: pathlib.Path, digests: Mapping[str, str]
) -> list[str]:
    """Compares files with their recorded digests.

    Args:
        folder: The folder of the files.
        digests: Digests by relative path.

    Returns:
        One line for each file that is missing or differs.
    """
    problems = []
    for name, digest in digests.items():
        file = folder / name
        if not file.is_file():
            problems.append(f"{file} is missing")
        elif digest_of_file(file) != digest:
            problems.append(f"{file} is not what was written (digest differs)")
    return problems


def refuse_damaged(file: pathlib.Path, digest: str) -> None:
    """Compares one file with its recorded digest.

    Raises:
        StateError: If it is missing or differs.
    """
    problems = check_digests(file.parent, {file.name: digest})
    if problems:
        raise StateError(
            f"{problems[0]}; restore it from a copy, or go back to an "
            "earlier state."
        )


def json_bytes(value: Any) -> bytes:
    """Returns readable JSON with the same bytes for equal values."""
    text = json.dumps(
        value, indent=1, sort_keys=True, ensure_ascii=False, default=_plain
    )
    return (text + "\n").encode()


def checksum(value: Any) -> str:
    """Returns the SHA-256 (hexadecimal) of a value's `json_bytes`."""
    return hashlib.sha256(json_bytes(value)).hexdigest()


def unreadable(
    path: str | pathlib.Path, error: OSError, remedy: str = ""
) -> StateError:
    """Returns the error to raise for a file that cannot be read.

    Args:
        path: The file.
        error: What reading it raised.
        remedy: What to do about it, if there is more to say.
    """
    end = f"; {remedy}" if remedy else ""
    reason = error.strerror or first_line(error)
    return StateError(f"{path}: cannot be read ({reason}){end}.")


def content_of(path: pathlib.Path, remedy: str = "") -> bytes | None:
    """Returns a file's bytes, or None if there is no such file.

    Args:
        path: The file.
        remedy: As for `unreadable`.

    Raises:
        StateError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error, remedy) from error


def read_checked(
    path: pathlib.Path, kind: type[_Record], remedy: str
) -> _Record | None:
    """Returns the record in a JSON file that has a checksum inside.

    Args:
        path: The file.
        kind: The record's dataclass, which compares the checksum.
        remedy: What to do about a damaged file, for the message.

    Returns:
        The record, or None if there is no such file.

    Raises:
        StateError: If the file is damaged or cannot be read.
    """
    content = content_of(path)
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=kind)
    except (ValueError, RecursionError) as error:
        raise StateError(f"{path} is damaged; {remedy}.") from error


def _plain(value: Any) -> Any:
    """Converts records and NumPy values to Python's, the rest to text."""
    if dataclasses.is_dataclass(value):
        return vars(value)
    return value.tolist() if hasattr(value, "tolist") else str(value)


def as_record(value: Any, kind: type[_Record], path: pathlib.Path) -> _Record:
    """Converts JSON values to a record, checking its fields.

    Args:
        value: The values.
        kind: The record's dataclass.
        path: Their file, for the message.

    Raises:
        StateError: If a field is missing or invalid.
    """
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise StateError(f"{path} is damaged: {first_line(error)}.") from error


def write_sealed_json(folder: pathlib.Path, name: str, value: Any) -> None:
    """Writes `<name>.json` and, beside it, its digest in `<name>.sha256`.

    Use it only in a folder that is not in place yet: the two files are not
    written atomically.
    """
    content = json_bytes(value)
    (folder / f"{name}.json").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    (folder / f"{name}.sha256").write_text(f"{digest}  {name}.json\n")


def read_sealed_json(folder: pathlib.Path, name: str) -> Any:
    """Reads what `write_sealed_json` wrote.

    Raises:
        StateError: If a file is missing, damaged, or does not match its
            digest.
    """
    path, seal = folder / f"{name}.json", folder / f"{name}.sha256"
    try:
        content = path.read_bytes()
        recorded = seal.read_bytes()
    except OSError as error:
        raise unreadable(error.filename, error) from error
    digest = hashlib.sha256(content).hexdigest()
    if recorded != f"{digest}  {name}.json\n".encode():
        found = recorded[:64].decode("ascii", "replace")
        blame = path if DIGEST.fullmatch(found) else seal
        raise StateError(
            f"{blame} is damaged: {path.name} and its digest in {seal.name} "
            "do not match."
        )
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise StateError(
            f"{path} is damaged: not JSON ({first_line(error)})."
        ) from error


@dataclasses.dataclass(frozen=True)
class SealedTask:
    """A task's entry in a SavedModel's record; see `Task`."""

    name: str
    classes: int
    digest: Digest


@dataclasses.dataclass(frozen=True)
class Seal:
    """The record of a SavedModel's files.

    Attributes:
        state: A digest of all packed tasks that it answers for.
        tasks: These tasks, in order.
        files: Digests of its files, by relative path.
        layout: How it stores the weights; None in early records.
    """

    state: Digest
    tasks: tuple[SealedTask, ...]
    files: dict[str, Digest]
    layout: str | None = None

    def is_of(self, tasks: Sequence[Task]) -> bool:
        """Whether it answers for these tasks under their current names."""
        return [(task.name, task.digest) for task in self.tasks] == [
            (task.name, task.digest) for task in tasks
        ]


def seal_folder(
    folder: pathlib.Path, state: str, tasks: Sequence[Task], layout: str
) -> None:
    """Writes a record of a folder's files into its `assets.extra`.

    Args:
        folder: A SavedModel's folder, complete but not in place yet.
        state: See `Seal`, as for the others.
        tasks: The same.
        layout: The same.
    """
    sealed = tuple(SealedTask(t.name, t.classes, t.digest or "") for t in tasks)
    record = Seal(state, sealed, digests_below(folder), layout)
    (folder / _EXTRA).mkdir(exist_ok=True)
    write_sealed_json(folder / _EXTRA, _RECORD, record)


def is_sealed(folder: pathlib.Path) -> bool:
    """Whether `seal_folder` wrote a record into this folder."""
    return (folder / _EXTRA / f"{_RECORD}.json").is_file()


def read_seal(folder: pathlib.Path) -> Seal:
    """Returns the record that `seal_folder` wrote.

    Raises:
        StateError: If it is missing or damaged.
    """
    path = folder / _EXTRA / f"{_RECORD}.json"
    return as_record(read_sealed_json(path.parent, _RECORD), Seal, path)


def check_seal(folder: pathlib.Path) -> list[str]:
    """Compares a sealed folder with its record.

    Returns:
        One line for each file that is missing, changed or new.
    """
    try:
        record = read_seal(folder)
    except StateError as error:
        return [str(error)]
    problems = check_digests(folder, record.files)
    own = {f"{_EXTRA}/{_RECORD}.json", f"{_EXTRA}/{_RECORD}.sha256"}
    for file in files_below(folder):
        name = file.relative_to(folder).as_posix()
        if name not in record.files and name not in own:
            problems.append(f"{file} was not written by packnet_tf")
    return problems
