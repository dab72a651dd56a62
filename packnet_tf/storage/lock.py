"""The lock of a workdir: one process writes, any number read."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator

from packnet_tf import atomic_files
from packnet_tf.errors import StateError


class Lock:
    """The lock file of a workdir.

    Args:
        path: The file, in the workdir's folder.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path
        self._folder = path.parent
        self._file: int | None = None  # its descriptor, while it is held

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Makes this process the workdir's one writer; readers need no lock.

        The system releases the lock when its holder ends, even by a crash.

        Raises:
            StateError: If another process holds it (the message has its
                process ID), or the workdir cannot be written.
        """
        try:
            atomic_files.make_folder(self._folder)
            # A workdir from a stranger might contain a symlink here.
            how = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            file = os.open(self.path, how, 0o666)
        except OSError as error:
            raise StateError(
                f"{self._folder}: cannot be written ({error.strerror}); choose "
                "another workdir."
            ) from error
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.pread(file, 100, 0).decode(errors="replace")
                raise StateError(
                    f"{self._folder} is in use by another process (pid "
                    f"{holder.strip() or 'unknown'}); wait until it ends, or "
                    "use another workdir."
                ) from error
            _write_holder(file, f"{os.getpid()}\n")
            self._file = file
            try:
                yield
            finally:
                self._file = None
                _write_holder(file, "")
        finally:
            os.close(file)

    def check_there(self) -> None:
        """Refuses a workdir that was removed while its lock is held.

        Writing would make a new, incomplete workdir. Without the lock there
        is nothing to compare with, and nothing is refused.

        Raises:
            StateError: If the workdir is gone or was replaced.
        """
        if self._file is None:
            return
        try:
            there = os.path.samestat(os.fstat(self._file), self.path.stat())
        except OSError:
            there = False
        if not there:
            raise atomic_files.gone(self._folder)


def _write_holder(file: int, text: str) -> None:
    """Notes who holds the lock, ignoring errors such as a full disk."""
    with contextlib.suppress(OSError):
        os.ftruncate(file, 0)
        os.pwrite(file, text.encode(), 0)
