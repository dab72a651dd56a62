"""Caches the result of a pass over all images.

Reading every image of a large set takes long, and its files seldom change. The
result is kept in the user's cache folder, keyed by a digest of the names, sizes
and times of the files. It may be deleted at any time.
"""

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from packnet_tf import atomic_files
from packnet_tf.errors import StateError

# Changes when the meaning of the cached arrays changes, or which images are
# found to be corrupt.
_VERSION = "4"


def fingerprint(paths: Iterable[str | pathlib.Path], *more: str) -> str:
    """Returns a digest of the names, sizes and times of files.

    Args:
        paths: The files.
        *more: Whatever else distinguishes entries.
    """
    found = hashlib.sha256(_VERSION.encode())
    for text in more:
        found.update(text.encode() + b"\0")
    for path in paths:
        line = f"{path}\0{_size_and_time(path)}\0"
        found.update(line.encode("utf-8", "surrogateescape"))
    return found.hexdigest()


def _size_and_time(path: str | pathlib.Path) -> str:
    try:
        status = os.stat(path)
    except OSError as error:
        return str(error.errno)  # Reading it will fail, and name it.
    return f"{status.st_size}\0{status.st_mtime_ns}"


def recall(key: str) -> dict[str, np.ndarray] | None:
    """Returns the arrays kept under a fingerprint, or None."""
    try:
        with np.load(_path(key), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except Exception:
        # Missing or damaged: the images are read again.
        return None


def remember(key: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Keeps arrays under a fingerprint, where that is possible."""
    try:
        path = _path(key)
    except RuntimeError:
        return  # The user has no home, as in containers.
    with (
        contextlib.suppress(StateError),
        atomic_files.whole_file(path) as aside,
        open(aside, "wb") as file,
    ):
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _path(key: str) -> pathlib.Path:
    cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(cache) / "packnet_tf" / "images" / f"{key}.npz"
