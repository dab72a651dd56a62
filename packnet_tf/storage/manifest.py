"""The manifest of a packed state: what it holds, and how it was made."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.errors import StateError
from packnet_tf.storage import checksums
from packnet_tf.task import Count, Digest, Task

SCHEMA = 2
_NAME = "manifest"
# The files of a state besides the manifest and its digest.
FILES = ("net.keras", "probe.npz")


@dataclasses.dataclass(kw_only=True)
class PackedTask(Task):
    """What a manifest says of one task, beyond the record of the task.

    Attributes:
        digest: Hexadecimal digest recorded when it was packed.
        weights: How many weights it owns.
        metrics: Its figures, whatever the program that committed it keeps.
        facts: How it was made, likewise.
    """

    digest: Digest
    weights: Count = 0
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def data_facts(self) -> dict[str, Any]:
        """How the task saw its images, or nothing if that is not known."""
        found = self.facts.get("data")
        return found if isinstance(found, dict) else {}

    @property
    def preprocessing(self) -> Preprocessing:
        """How its images become the network's."""
        return Preprocessing.from_facts(self.data_facts)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says of a packed state.

    Attributes:
        number: How many tasks are packed in it.
        name: The name that its newest task was packed with.
        tasks: Its tasks, in order.
        files: Digests of its other files, by name.
        machine: `environment.machine_facts` of the machine that wrote it.
        versions: Versions of Python and of packages, by name.
        probe: The program of the probe's logits.
        origin: Digest of the workdir's `origin.npz`, or None.
        schema: The form of the file.
    """

    number: int
    name: str
    tasks: Annotated[tuple[PackedTask, ...], msgspec.Meta(min_length=1)]
    files: dict[str, Digest]
    machine: dict[str, Any]
    versions: dict[str, Any]
    probe: str
    origin: Digest | None = None
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if sorted(self.files) != sorted(FILES):
            raise ValueError(f"'files' are not {', '.join(FILES)}")
        for owner, task in enumerate(self.tasks, start=1):
            if task.owner != owner:
                raise ValueError(f"task {owner} is missing")
        if (self.number, self.name) != (owner, task.name):
            raise ValueError("its tasks are not those of its number and name")


def _from_1(record: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 kept a probe's logits of a program for a fixed batch."""
    return {**record, "schema": 2, "probe": "fixed batch"}


# How a record of an older schema becomes one of the next.
_NEXT: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}


def write(
    folder: pathlib.Path,
    tasks: Sequence[PackedTask],
    *,
    machine: Mapping[str, Any],
    versions: Mapping[str, Any],
    probe: str,
    origin: str | None,
) -> None:
    """Writes `manifest.json` and `manifest.sha256` into a state's folder.

    The digests of the state's files are added here, so call it last.

    Args:
        folder: The state's folder.
        tasks: The records of its tasks, in order.
        machine: See `Manifest`, as for the others.
        versions: The same.
        probe: The same.
        origin: The same.
    """
    record = Manifest(
        number=len(tasks),
        name=tasks[-1].name,
        tasks=tuple(tasks),
        files={name: checksums.digest_of_file(folder / name) for name in FILES},
        machine=dict(machine),
        versions=dict(versions),
        probe=probe,
        origin=origin,
    )
    checksums.write_sealed_json(folder, _NAME, record)


def read(folder: pathlib.Path, number: int, name: str) -> Manifest:
    """Reads and checks a state's manifest.

    Args:
        folder: The state's folder.
        number: Its number, from the folder's name.
        name: Its newest task, from the folder's name.

    Returns:
        The manifest. One of an older schema is brought to this release's as
        it is read.

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
    found = checksums.as_record(record, Manifest, path)
    if (found.number, found.name) != (number, name):
        raise StateError(
            f"{path} is of state {found.number:03d}-{found.name}; "
            f"rename its folder {folder.name} back."
        )
    return found
