"""Drops old packed states, and keeps a record of them in `dropped.json`.

Every state holds the whole network, so that an older one serves only those
who want to go back to it. The record is written before anything is removed:
it tells an interrupted removal from a loss.
"""

import dataclasses
from collections.abc import Collection

from packnet_tf import atomic_files
from packnet_tf.storage import checksums
from packnet_tf.storage.workdir import Workdir
from packnet_tf.task import Digest


@dataclasses.dataclass(frozen=True)
class _Dropped:
    """The content of `dropped.json`: numbers of states, and a checksum."""

    states: tuple[int, ...]
    sha256: Digest

    def __post_init__(self) -> None:
        if self.sha256 != checksums.checksum(self.states):
            raise ValueError("the checksum differs")


def dropped(workdir: Workdir) -> set[int]:
    """Returns the numbers of the states that were dropped.

    Raises:
        StateError: If the record is damaged.
    """
    found = checksums.read_checked(
        workdir.dropped_path,
        _Dropped,
        "restore it from a copy, or remove it: then apps/verify.py misses the "
        "states that were dropped",
    )
    return set() if found is None else {*found.states}


def begin(workdir: Workdir, number: int) -> None:
    """Notes that a state is written, which may have been dropped once.

    Args:
        workdir: The workdir; hold its lock.
        number: The state's number.
    """
    before = dropped(workdir)
    _note(workdir, before, {one for one in before if one < number})


def drop(workdir: Workdir, keep: int | None, served: Collection[int]) -> bool:
    """Removes old states; their SavedModels go with the next repair.

    Args:
        workdir: The workdir; hold its lock.
        keep: How many of the newest states to keep; None keeps all.
        served: Numbers of states that stay because they are served.

    Returns:
        Whether there were any.
    """
    there = [workdir.number_of(folder) for folder in workdir.state_folders()]
    if keep is not None:
        before = dropped(workdir)
        old = {one for one in there if one <= max(there) - keep}
        _note(workdir, before, before | (old - set(served)))
    return bool(finish(workdir))


def finish(workdir: Workdir) -> list[str]:
    """Removes what is left of states that were dropped.

    Args:
        workdir: The workdir; hold its lock.

    Returns:
        One line for each state removed.
    """
    gone, done = dropped(workdir), []
    for folder in workdir.state_folders():
        if workdir.number_of(folder) in gone:
            atomic_files.remove_folder(folder)
            done.append(f"removed {folder} (--keep_states)")
    return done


def _note(workdir: Workdir, before: set[int], states: set[int]) -> None:
    if states != before:
        found = tuple(sorted(states))
        record = _Dropped(found, checksums.checksum(found))
        atomic_files.write_file(
            workdir.dropped_path, checksums.json_bytes(record)
        )
