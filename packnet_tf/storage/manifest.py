"""Reads and writes the manifest of a packed state."""

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
    """A task's record with its entries in a manifest.

    Attributes:
        digest: Hexadecimal digest recorded when it was packed.
        weights: How many weights it owns.
        metrics: Its figures, chosen by the program that committed it.
        facts: How it was made, chosen likewise.
    """

    digest: Digest
    weights: Count = 0
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def data_facts(self) -> dict[str, Any]:
        """How the task saw its images; empty if unknown."""
        found = self.facts.get("data")
        return found if isinstance(found, dict) else {}

    @property
    def preprocessing(self) -> Preprocessing:
        """How its images become network inputs."""
        return Preprocessing.from_facts(self.data_facts)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`.

    Attributes:
        number: How many tasks the state has.
        name: The name that its newest task was packed with.
        tasks: Its tasks, in order.
        files: Digests of the state's other files, by name.
        machine: `environment.machine_facts` of the machine that wrote it.
        versions: Versions of Python and of packages, by name.
        probe: The program that computed the probe's logits.
        origin: Digest of the workdir's `origin.npz`, or None.
        run: Digest of the workdir's `run.json`, or None in older records.
        schema: Version of the file's format.
    """

    number: int
    name: str
    tasks: Annotated[tuple[PackedTask, ...], msgspec.Meta(min_length=1)]
    files: dict[str, Digest]
    machine: dict[str, Any]
    versions: dict[str, Any]
    probe: str
    origin: Digest | None = None
    run: Digest | None = None
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
    """In schema 1 the probe's program always had a fixed batch size."""
    return {**record, "schema": 2, "probe": "fixed batch"}


# Converts a record from each older schema to the next.
_NEXT: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}


def write(
    folder: pathlib.Path,
    tasks: Sequence[PackedTask],
    *,
    machine: Mapping[str, Any],
    versions: Mapping[str, Any],
    probe: str,
    origin: str | None,
    run: str | None = None,
) -> None:
    """Writes `manifest.json` and `manifest.sha256` into a state's folder.

    It adds the digests of the state's files, so call it last.

    Args:
        folder: The state's folder.
        tasks: The records of its tasks, in order.
        machine: See `Manifest`, as for the others.
        versions: The same.
        probe: The same.
        origin: The same.
        run: The same.
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
        run=run,
    )
    content = dict(vars(record))
    if run is None:
        del content["run"]
    checksums.write_sealed_json(folder, _NAME, content)


def read(folder: pathlib.Path, number: int, name: str) -> Manifest:
    """Reads and checks a state's manifest.

    Args:
        folder: The state's folder.
        number: Its number, from the folder's name.
        name: Its newest task, from the folder's name.

    Returns:
        The manifest, converted from an older schema where necessary.

    Raises:
        StateError: If it is missing, damaged, of an unknown schema, or of
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
