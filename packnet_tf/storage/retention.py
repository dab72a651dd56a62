"""Drops old packed states, and keeps a record of them in `dropped.json`.

Every state holds the whole network, so that an older one serves only those
who want to go back to it. The record is written before anything is removed:
it tells an interrupted removal from a loss. A state that is there, and is not
still to be removed, was put back and stays.
"""

import dataclasses
from collections.abc import Collection

from packnet_tf import atomic_files
from packnet_tf.storage import checksums
from packnet_tf.storage.workdir import Workdir
from packnet_tf.task import Digest


def _checksum(states: tuple[int, ...], pending: tuple[int, ...]) -> str:
    # Early releases wrote only the first, and these records are still read.
    return checksums.checksum((states, pending) if pending else states)


@dataclasses.dataclass(frozen=True)
class _Dropped:
    """The content of `dropped.json`.

    Attributes:
        states: Numbers of the states that were dropped.
        sha256: A checksum of the others.
        pending: Those of the states that are still to be removed.
    """

    states: tuple[int, ...]
    sha256: Digest
    pending: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.sha256 != _checksum(self.states, self.pending):
            raise ValueError("the checksum differs")


def dropped(workdir: Workdir) -> set[int]:
    """Returns the numbers of the states that were dropped.

    Raises:
        StateError: If the record is damaged.
    """
    return _read(workdir)[0]


def leaving(workdir: Workdir) -> set[int]:
    """Returns the numbers of states whose removal was interrupted.

    Raises:
        StateError: If the record is damaged.
    """
    return _read(workdir)[1] & _there(workdir)


def begin(workdir: Workdir, number: int) -> None:
    """Notes that a state is written, which may have been dropped once.

    Args:
        workdir: The workdir; hold its lock.
        number: The state's number.
    """
    states, pending = _read(workdir)
    earlier = {*range(number)}
    _note(workdir, states & earlier, pending & earlier)


def drop(workdir: Workdir, keep: int | None, served: Collection[int]) -> bool:
    """Removes old states; their SavedModels go with the next repair.

    Args:
        workdir: The workdir; hold its lock.
        keep: How many of the newest states to keep; None keeps all.
        served: Numbers of states that stay because they are served.

    Returns:
        Whether there were any.
    """
    there = _there(workdir)
    if keep is not None:
        states, pending = _read(workdir)
        old = {one for one in there if one <= max(there) - keep} - {*served}
        _note(workdir, states | old, pending | old)
    return bool(finish(workdir))


def finish(workdir: Workdir) -> list[str]:
    """Removes what is left of states that were dropped; never the newest.

    Args:
        workdir: The workdir; hold its lock.

    Returns:
        One line for each state removed.
    """
    states, pending = _read(workdir)
    newest, done = max(_there(workdir), default=0), []
    for folder in workdir.state_folders():
        number = workdir.number_of(folder)
        if number in pending and number < newest:
            atomic_files.remove_folder(folder)
            done.append(f"removed {folder} (--keep_states)")
    # Not those that were put back, nor those that will be written again.
    left = {one for one in states - _there(workdir) if one < newest}
    _note(workdir, left, set())
    return done


def _there(workdir: Workdir) -> set[int]:
    return {workdir.number_of(folder) for folder in workdir.state_folders()}


def _read(workdir: Workdir) -> tuple[set[int], set[int]]:
    """Returns the states that were dropped, and those still to be removed."""
    found = checksums.read_checked(
        workdir.dropped_path,
        _Dropped,
        "restore it from a copy, or remove it: then apps/verify.py misses the "
        "states that were dropped",
    )
    if found is None:
        return set(), set()
    return {*found.states}, {*found.pending}


def _note(workdir: Workdir, states: set[int], pending: set[int]) -> None:
    if (states, pending) != _read(workdir):
        found = tuple(sorted(states)), tuple(sorted(pending))
        record = _Dropped(found[0], _checksum(*found), found[1])
        atomic_files.write_file(
            workdir.dropped_path, checksums.json_bytes(record)
        )
