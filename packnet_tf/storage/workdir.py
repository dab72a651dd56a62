"""The workdir: the folder of a network's packed states, exports and logs.

workdir/
  run.json               facts of the network, written once
  names.json             new names of tasks, if some were renamed
  dropped.json           which old states were removed, if some were
  origin.npz             its kernels before the base task was pruned
  states/002-birds/      one folder per packed state
  serving/NAME/2/        its SavedModel
  training/              the unfinished task
  logs/  lock
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import re
from collections.abc import Callable

from packnet_tf import atomic_files
from packnet_tf.errors import StateError, TaskError
from packnet_tf.options.network import NetworkOptions
from packnet_tf.storage import checksums, manifest, run_file
from packnet_tf.storage.lock import Lock
from packnet_tf.storage.manifest import Manifest, PackedTask
from packnet_tf.storage.renames import read_names, renamed

_STATE = re.compile(r"(\d{3,})-(.+)")


@dataclasses.dataclass(frozen=True)
class StateInfo:
    """One packed state on disk.

    Attributes:
        number: How many tasks are packed in it.
        name: Current name of its newest task.
        path: Its folder.
        manifest: Its manifest, with the names that tasks were packed with.
        tasks: The records of its tasks, in order, with their current names.
    """

    number: int
    name: str
    path: pathlib.Path
    manifest: Manifest = dataclasses.field(repr=False)
    tasks: tuple[PackedTask, ...] = dataclasses.field(repr=False)

    @property
    def network_path(self) -> pathlib.Path:
        """The Keras file of the whole network."""
        return self.path / "net.keras"

    @property
    def probe_path(self) -> pathlib.Path:
        """A few images and every task's logits on them."""
        return self.path / "probe.npz"

    def task(self, name: str) -> PackedTask:
        """Returns the record of one task.

        Raises:
            TaskError: If the state has no such task; the message lists them.
        """
        for record in self.tasks:
            if record.name == name:
                return record
        known = ", ".join(record.name for record in self.tasks)
        raise TaskError(f"Unknown task {name!r}; the tasks are: {known}.")


class Workdir:
    """The folder of one network.

    Args:
        path: The folder; it need not exist.

    Example:

    >>> workdir = Workdir("runs/m")
    >>> [state.name for state in workdir.states()]
    ['imagenet', 'birds']
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = pathlib.Path(path)
        self.run_path = self.path / "run.json"
        self.origin_path = self.path / "origin.npz"
        self.names_path = self.path / "names.json"
        self.dropped_path = self.path / "dropped.json"
        self.states_path = self.path / "states"
        self.serving_path = self.path / "serving"
        self.training_path = self.path / "training"
        self.logs_path = self.path / "logs"
        self._lock = Lock(self.path / "lock")

    @property
    def run(self) -> NetworkOptions | None:
        """The network given to `create`, or None before that.

        Raises:
            StateError: If `run.json` is damaged, of a later release, or not
                what it was when the last task was packed.
        """
        content = checksums.content_of(
            self.run_path, "give the folder of a network as the workdir"
        )
        if content is None:
            return None
        found = run_file.parse(content, self.run_path)
        self._check_sealed(content, "is not what it was")
        return found

    def _check_sealed(self, content: bytes, what: str) -> None:
        """Refuses a `run.json` that is not the one of the packed states."""
        for folder in reversed(self.state_folders()):
            try:
                digest = self.read_state(folder).manifest.run
            except StateError:
                continue  # Those who read the state will say so.
            if digest is None:
                continue
            if digest != hashlib.sha256(content).hexdigest():
                raise StateError(
                    f"{self.run_path} {what} when {folder} was packed "
                    f"(digest differs); {run_file.REMEDY}."
                )
            return

    def compare(self, network: NetworkOptions) -> None:
        """Refuses a network that is not this workdir's.

        Args:
            network: Its options, with files identified as in `run.json`.

        Raises:
            StateError: Naming the first option that differs.
        """
        run = self.run
        if run is None:
            return
        for name, before in sorted(vars(run).items()):
            now = getattr(network, name)
            # JSON turns tuples into lists, as in the file.
            if before != json.loads(checksums.json_bytes(now)):
                raise StateError(
                    f"{self.path} is the workdir of another network: it was "
                    f"begun with {name}={before!r}, now {name}={now!r} is "
                    "asked for; use the same value, or another workdir."
                )

    def create(self, network: NetworkOptions) -> None:
        """Makes the workdir, or checks that it is this network's.

        Args:
            network: Its options, with files identified by their content.

        Raises:
            StateError: If it is another network's or cannot be written.
        """
        self.compare(network)
        if self.run is None:
            content = run_file.format_run(network)
            self._check_sealed(content, "would not be what it was")
            atomic_files.write_file(self.run_path, content)

    def states(self) -> list[StateInfo]:
        """Returns the packed states, oldest first.

        Raises:
            StateError: If a state's manifest is missing or damaged.
        """
        return self._read_listed(lambda folders: folders)

    def _read_listed(
        self, choose: Callable[[list[pathlib.Path]], list[pathlib.Path]]
    ) -> list[StateInfo]:
        """Reads the states that `choose` selects from all folders.

        If another process removes a state (`undo`) between listing and
        reading it, they are listed again.
        """
        while True:
            folders = choose(self.state_folders())
            try:
                return self._read(folders)
            except StateError:
                if all(folder.is_dir() for folder in folders):
                    raise

    def _read(self, folders: list[pathlib.Path]) -> list[StateInfo]:
        found = [self.read_state(path) for path in folders]
        for one, next_one in itertools.pairwise(found):
            if one.number == next_one.number:
                raise StateError(
                    f"{one.path} and {next_one.path} have the same number; "
                    "move the one that does not belong here away."
                )
        return found

    def state_folders(self) -> list[pathlib.Path]:
        """Returns the folders of the states, oldest first, unread."""
        if not self.states_path.is_dir():
            return []
        return sorted(
            (
                path
                for path in self.states_path.iterdir()
                if _STATE.fullmatch(path.name) and path.is_dir()
            ),
            key=lambda path: (_parse(path)[0], path.name),
        )

    def read_state(self, folder: pathlib.Path) -> StateInfo:
        """Reads the manifest of one of `state_folders`.

        Raises:
            StateError: If it is missing or damaged.
        """
        number, name = _parse(folder)
        record = manifest.read(folder, number, name)
        tasks = renamed(record.tasks, self.names)
        if len({task.name for task in tasks}) != len(tasks):
            raise StateError(
                f"{self.names_path} gives two tasks of {folder} one name; "
                "remove it to go back to the names they were packed with."
            )
        return StateInfo(number, tasks[-1].name, folder, record, tasks)

    def _is_readable(self, folder: pathlib.Path) -> bool:
        try:
            self.read_state(folder)
        except StateError:
            return False
        return True

    @staticmethod
    def number_of(folder: pathlib.Path) -> int:
        """Returns the number of one of `state_folders`, unread."""
        return _parse(folder)[0]

    @property
    def names(self) -> dict[str, str]:
        """New names of tasks that were renamed, by their digests.

        Raises:
            StateError: If `names.json` is damaged.
        """
        return read_names(self.names_path)

    def newest(self) -> StateInfo | None:
        """Returns the newest packed state, or None if there is none yet."""
        states = self.states()
        return states[-1] if states else None

    def state(
        self, which: str | int | None = None, *, past_damage: bool = False
    ) -> StateInfo:
        """Returns one packed state.

        Args:
            which: Its number (int or text) or its task's name; the newest if
                None. What is a state's number is not taken for a name. A
                number finds it even if other states are damaged.
            past_damage: Whether a name does so too.

        Raises:
            StateError: If there is none; the message lists the states.
        """

        def chosen(folders: list[pathlib.Path]) -> list[pathlib.Path]:
            its = [path for path in folders if _has_number(path, which)]
            if its or not past_damage:
                return its or folders
            return [path for path in folders if self._is_readable(path)]

        states = self._read_listed(chosen)
        for state in reversed(states):
            if which in (None, state.name) or _has_number(state.path, which):
                return state
        self.check_there()
        if which is None:
            raise StateError(
                f"{self.path} holds no packed state; add a task first."
            )
        known = ", ".join(state.path.name for state in states) or "none yet"
        raise StateError(
            f"{self.path} has no packed state {which!r}; the states are: "
            f"{known}."
        )

    def state_path(self, number: int, name: str) -> pathlib.Path:
        """Returns the folder of a state, whether it exists or not."""
        return self.states_path / f"{number:03d}-{name}"

    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Makes this process the workdir's one writer; see `Lock.held`."""
        return self._lock.held()

    def check_there(self) -> None:
        """Refuses a workdir that was removed; see `Lock.check_there`."""
        self._lock.check_there()


def _has_number(folder: pathlib.Path, which: str | int | None) -> bool:
    """Whether `which` is the number of a state's folder, or it as text."""
    number = _parse(folder)[0]
    if isinstance(which, str):
        # Not by `int`, which refuses some digits and many of them.
        return which.lstrip("0") == str(number)
    return which == number


def _parse(folder: pathlib.Path) -> tuple[int, str]:
    """Returns the number and name from a state's folder name."""
    match = _STATE.fullmatch(folder.name)
    if match is None:
        raise StateError(f"{folder} is not named like a packed state.")
    return int(match[1]), match[2]
