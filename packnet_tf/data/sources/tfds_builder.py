"""Finds a prepared TFDS data set on disk, or prepares it.

It first checks what would fail only after a long wait: an unknown name, a dead
download, a missing network connection.
"""

import difflib
import functools
import os
import pathlib
import threading
import urllib.error
import urllib.request
from typing import Any

from packnet_tf.errors import DataError, first_line

_FOLDER_ROUTE = (
    "give an image folder instead: --data=PATH with "
    "PATH/{train,test}/CLASS/*.jpg."
)

# Data sets that cannot be downloaded, and why.
_NO_DOWNLOAD = {
    "cars196": "it is no longer online",
    "imagenet2012": (
        "its files must be requested at image-net.org and prepared with TFDS"
    ),
}

_PROBE_URL = "https://storage.googleapis.com"
_PROBE_SECONDS = 5


def open_builder(name: str, data_dir: str | pathlib.Path | None = None) -> Any:
    """Returns a TFDS builder whose data set is prepared.

    Args:
        name: `NAME[/CONFIG][:VERSION]`.
        data_dir: Folder of prepared data sets; by default the environment
            variable `TFDS_DATA_DIR`, or `~/tensorflow_datasets`.

    Returns:
        A `tfds.core.DatasetBuilder`, which reads only files if the data set
        was already prepared.

    Raises:
        DataError: If it is unnamed, unknown, damaged, or can be neither
            found nor downloaded.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise DataError(
            f"tfds:{name} needs the package tensorflow-datasets, which cannot "
            f"be imported ({first_line(error)}); run pip install "
            "tensorflow-datasets importlib_resources."
        ) from error
    if _is_nameless(name):
        raise DataError(
            f"tfds:{name} names no data set; give tfds:NAME[/CONFIG][:VERSION]."
        )
    root = _root(data_dir)
    folder = _prepared(name, root)
    if folder is None:
        return _download(tfds, name, root)
    try:
        return tfds.builder_from_directory(folder)
    except Exception as error:
        raise DataError(
            f"The data set tfds:{name} in {folder} cannot be read "
            f"({first_line(error)}); prepare it again."
        ) from error


def data_set_of(
    name: str, data_dir: str | pathlib.Path | None = None
) -> str | None:
    """Returns the TFDS data set that has a task's name, or None.

    Args:
        name: The task's name.
        data_dir: As in `open_builder`.

    Returns:
        `"tfds:NAME"`, if it is prepared or known to TFDS.
    """
    if _prepared(name, _root(data_dir)) is None:
        try:
            import tensorflow_datasets as tfds
        except ImportError:
            return None
        if name not in _known(tfds):
            return None
    return f"tfds:{name}"


@functools.cache
def _known(tfds: Any) -> frozenset[str]:
    """Returns the names that TFDS knows; listing them is slow."""
    return frozenset(tfds.list_builders(with_community_datasets=False))


def _root(data_dir: str | pathlib.Path | None) -> pathlib.Path:
    """Returns the folder of prepared data sets."""
    return pathlib.Path(
        data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    ).expanduser()


def _is_nameless(name: str) -> bool:
    """Returns whether a name would be the folder of all data sets, or above."""
    return not name.partition(":")[0].strip("/.")


def _prepared(name: str, root: pathlib.Path) -> pathlib.Path | None:
    """Returns the folder of a data set's files, or None."""
    if _is_nameless(name):
        return None
    path, _, version = name.partition(":")
    base = root / path
    found = _versions(base)
    if not found and base.is_dir() and "/" not in path:
        configs = [c for c in sorted(base.iterdir()) if _versions(c)]
        if len(configs) > 1:
            shown = ", ".join(f"tfds:{path}/{c.name}" for c in configs)
            raise DataError(
                f"The data set tfds:{path} is prepared in several "
                f"configurations; name one of {shown}."
            )
        found = _versions(configs[0]) if configs else {}
    if version:
        return found.get(version)
    if not found:
        return None
    return found[max(found, key=_version_key)]


def _versions(base: pathlib.Path) -> dict[str, pathlib.Path]:
    if not base.is_dir():
        return {}
    return {
        entry.name: entry
        for entry in base.iterdir()
        if (entry / "dataset_info.json").is_file()
    }


def _version_key(version: str) -> list[int]:
    return [int(p) if p.isdigit() else -1 for p in version.split(".")]


def _download(tfds: Any, name: str, root: pathlib.Path) -> Any:
    """Downloads and prepares a data set; fails fast if that is hopeless."""
    base = name.partition(":")[0].partition("/")[0]
    if base in _NO_DOWNLOAD:
        raise DataError(
            f"The data set tfds:{name} is not prepared in {root} and cannot "
            f"be downloaded: {_NO_DOWNLOAD[base]}; {_FOLDER_ROUTE}"
        )
    known = _known(tfds)
    if base not in known:
        path, _, version = name.partition(":")
        have = sorted(_versions(root / path), key=_version_key)
        if have:
            raise DataError(
                f"The data set tfds:{path} is prepared in {root} as version "
                f"{', '.join(have)}, not {version}; name one of these, or "
                "leave out the version."
            )
        close = difflib.get_close_matches(base, sorted(known), n=3)
        hint = f" did you mean {' or '.join(close)}?" if close else ""
        raise DataError(
            f"Unknown data set tfds:{name}, and none of that name is "
            f"prepared in {root};{hint or ' check the name or --data_dir.'}"
        )
    if not _reachable():
        raise DataError(
            f"The data set tfds:{name} is not prepared in {root}, and there "
            "is no network to download it; prepare it on another machine "
            f"and copy it to {root / base}, so that there is a file "
            f"{root / base}/VERSION/dataset_info.json, or {_FOLDER_ROUTE}"
        )
    try:
        builder = tfds.builder(name, data_dir=str(root))
        builder.download_and_prepare()
    except Exception as error:
        raise DataError(
            f"The data set tfds:{name} could not be prepared in {root} "
            f"({first_line(error)}); prepare it by hand, or {_FOLDER_ROUTE}"
        ) from error
    return builder


def _reachable() -> bool:
    """Returns within seconds whether there is a network connection.

    TFDS itself retries for about a minute.
    """
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(_PROBE_URL, timeout=_PROBE_SECONDS)
        except urllib.error.HTTPError:
            pass  # The server answered.
        except OSError:
            return
        answered.set()

    # Name resolution has no timeout, hence the thread.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    return answered.is_set()
