"""Atomic writes: files and folders are complete or absent, even after a crash.

Everything that must survive is written under a hidden name beside its final
place, synced to the disk, and renamed. A crash leaves either the old content or
the new, and perhaps a hidden leftover that `remove_leftovers` removes.
"""

import contextlib
import os
import pathlib
import re
import shutil
from collections.abc import Iterator

from packnet_tf.errors import StateError, first_line

_ASIDE = re.compile(r"\..+\.\d+\.aside(\.keras)?")


def _aside_of(path: pathlib.Path) -> pathlib.Path:
    """Returns the hidden name under which this process writes `path`."""
    return path.with_name(f".{path.name}.{os.getpid()}.aside")


@contextlib.contextmanager
def _named(path: pathlib.Path) -> Iterator[None]:
    """Turns errors of the system into a `StateError` that names `path`."""
    try:
        yield
    except OSError as error:
        # HDF5 gives a text of several lines in place of the system's.
        reason = os.strerror(error.errno) if error.errno else first_line(error)
        raise StateError(
            f"{path}: cannot be written ({reason}); what was there before is "
            "unchanged. Make room or give another folder, and run again."
        ) from error


def _sync(path: pathlib.Path) -> None:
    """Syncs one file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def gone(path: pathlib.Path) -> StateError:
    """Returns the error for a folder that vanished during a run."""
    return StateError(
        f"{path} is gone, which was there when the run began; put it back and "
        "run again."
    )


def make_folder(path: pathlib.Path) -> None:
    """Makes a folder and its parents, so that they survive a power loss.

    A folder that exists is left alone, even if it vanishes meanwhile.

    Raises:
        OSError: If it cannot be made.
    """
    new = [folder for folder in (path, *path.parents) if not folder.is_dir()]
    if new:
        path.mkdir(parents=True, exist_ok=True)
        for folder in new:
            _sync(folder.parent)


def files_below(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns all files below a folder, sorted by their path."""
    return sorted(p for p in folder.rglob("*") if p.is_file())


def check_absent(path: pathlib.Path) -> None:
    """Refuses a path that would be overwritten; call it before long work.

    Args:
        path: A file or folder to be made.

    Raises:
        StateError: If it exists.
    """
    # Also a link to nothing, which a folder does not replace.
    if os.path.lexists(path):
        raise StateError(
            f"{path} exists already and is never overwritten; remove it "
            "first, or write elsewhere."
        )


@contextlib.contextmanager
def whole_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Writes a folder that appears complete and synced, in one step.

    Args:
        path: The folder to make; it must not exist yet.

    Yields:
        An empty folder beside it, to be filled. It becomes `path` when the
        block ends, and is removed if the block raises.

    Raises:
        StateError: If `path` exists, or the disk is full or read-only.
    """
    aside = _aside_of(path)
    with _named(path):
        check_absent(path)
        make_folder(path.parent)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        try:
            yield aside
            for file in files_below(aside):
                _sync(file)
            for folder in [p for p in aside.rglob("*") if p.is_dir()]:
                _sync(folder)
            _sync(aside)
            os.rename(aside, path)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        _sync(path.parent)


def write_file(path: pathlib.Path, content: bytes) -> None:
    """Writes or replaces one file, whole and on the disk.

    Raises:
        StateError: If the disk is full or read-only.
    """
    with whole_file(path) as aside:
        aside.write_bytes(content)


@contextlib.contextmanager
def whole_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Writes or replaces one file that may be large, and makes its folder.

    Yields:
        The path to write to. It becomes `path` when the block ends.

    Raises:
        StateError: If the disk is full or read-only.
    """
    with _named(path):
        make_folder(path.parent)
    with replaced_file(path) as aside:
        yield aside


@contextlib.contextmanager
def replaced_file(
    path: pathlib.Path, ending: str = ""
) -> Iterator[pathlib.Path]:
    """Writes or replaces one file in a folder that is there.

    Args:
        path: The file.
        ending: What the name that is written to has to end in.

    Yields:
        The path to write to. It becomes `path` when the block ends.

    Raises:
        StateError: If the disk is full or read-only, or the folder is gone.
    """
    aside = _aside_of(path)
    aside = aside.with_name(aside.name + ending)
    with _named(path):
        try:
            yield aside
            _sync(aside)
            os.replace(aside, path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        _sync(path.parent)


def remove_folder(path: pathlib.Path) -> None:
    """Removes a folder so that it is never seen half removed.

    Of a link to a folder elsewhere, only the link goes.

    Raises:
        StateError: If it cannot be removed.
    """
    aside = _aside_of(path)
    with _named(path):
        _remove(aside, ignore_errors=True)
        os.rename(path, aside)
        _sync(path.parent)
        _remove(aside, ignore_errors=True)


def _remove(path: pathlib.Path, *, ignore_errors: bool = False) -> None:
    """Removes a file, a folder, or a link but not what it links to."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors)


def remove_file(path: pathlib.Path) -> None:
    """Removes a file, if it is there.

    Raises:
        StateError: If it cannot be removed.
    """
    with _named(path):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
            _sync(path.parent)


def is_leftover(path: pathlib.Path) -> bool:
    """Whether a path has the hidden name of an unfinished write."""
    return _ASIDE.fullmatch(path.name) is not None


def remove_leftovers(folder: pathlib.Path) -> list[str]:
    """Removes the leftovers of interrupted writes in a folder, not below it.

    Only the one writer of a workdir may call it.

    Returns:
        The names removed.
    """
    if not folder.is_dir():
        return []
    removed = []
    for path in sorted(folder.iterdir()):
        if is_leftover(path):
            with _named(path):
                _remove(path)
            removed.append(path.name)
    return removed
