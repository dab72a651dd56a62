"""Writes `models.config`: which versions a server loads, and their labels.

`latest` is always the newest version, and `stable` stays where it is until it
is moved. So a new task can be tried under `latest` while other clients keep
using `stable`.
"""

import os
import pathlib
import re
from collections.abc import Collection

from packnet_tf import atomic_files
from packnet_tf.errors import StateError
from packnet_tf.storage import checksums

FILE = "models.config"
_VERSION = re.compile(r"[1-9]\d*")
_CONFIG = """\
model_config_list {{
  config {{
    name: "{name}"
    base_path: "{path}"
    model_platform: "tensorflow"
    model_version_policy {{
      specific {{{versions}
      }}
    }}
    version_labels {{
      key: "stable"
      value: {stable}
    }}
    version_labels {{
      key: "latest"
      value: {latest}
    }}
  }}
}}
"""
_PATH = re.compile(rb"base_path: .*")
# Early releases loaded the newest version, with no label.
_LABELS = re.compile(rb"\n    model_version_policy .*\n    }\n", re.DOTALL)
_STABLE = re.compile(r'key: "stable"\s+value: (\d+)')


def versions_of(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """Returns the versions that this package wrote, by number."""
    if not folder.is_dir():
        return {}
    return {
        int(path.name): path
        for path in sorted(folder.iterdir())
        if _VERSION.fullmatch(path.name) and checksums.is_sealed(path)
    }


def has_versions(folder: pathlib.Path) -> bool:
    """Whether a folder holds versions that this package wrote."""
    return (folder / FILE).is_file() or bool(versions_of(folder))


def write_config(
    folder: pathlib.Path,
    versions: Collection[int],
    stable: int | None = None,
) -> bool:
    """Writes `models.config` beside the versions of a model.

    Args:
        folder: The model's folder; its name is the model's.
        versions: The versions that exist.
        stable: The version for the label `stable`; by default the one that
            has it, or the newest.

    Returns:
        Whether the file is new or its versions or labels changed.

    Raises:
        StateError: If there is no such version, or the disk is full.
    """
    if not versions:
        return False
    content = _config(folder, versions, stable)
    file = folder / FILE
    before = file.read_bytes() if file.exists() else b""
    if before != content:
        atomic_files.write_file(file, content)
    # Moving a workdir changes only the path, which is not worth reporting.
    return _PATH.sub(b"", before) != _PATH.sub(b"", content)


def _config(
    folder: pathlib.Path, versions: Collection[int], stable: int | None
) -> bytes:
    """Returns the content of `models.config`; see `write_config`."""
    latest = max(versions)
    if stable is not None and stable not in versions:
        known = ", ".join(map(str, sorted(versions)))
        raise StateError(
            f"{folder} has no version {stable}; the versions are: {known}."
        )
    if stable is None:
        stable = stable_version(folder)
    if stable is None or stable not in versions:
        stable = latest
    # The server wants an absolute path.
    path = os.path.abspath(folder).replace("\\", "\\\\").replace('"', '\\"')
    return _CONFIG.format(
        name=folder.name,
        path=path,
        versions="".join(
            f"\n        versions: {version}"
            for version in sorted({stable, latest})
        ),
        stable=stable,
        latest=latest,
    ).encode()


def config_problem(folder: pathlib.Path) -> str | None:
    """Compares `models.config` with the versions of a model.

    Args:
        folder: The model's folder.

    Returns:
        What is wrong, naming the file; None if nothing is, or there are no
        versions. A workdir that was moved is not wrong, nor is one whose
        newest version is not in the file yet: the command was interrupted.
    """
    found, file = versions_of(folder), folder / FILE
    if not found:
        return None
    before = found.keys() - {max(found)}
    try:
        content = file.read_bytes()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not before:
            return None
        content, reason = b"", f" ({error.strerror})"
    else:
        reason = ""
    for versions in filter(None, (found, before)):
        expected = _PATH.sub(b"", _config(folder, versions, None))
        if _PATH.sub(b"", content) in (expected, _LABELS.sub(b"\n", expected)):
            return None
    return (
        f"{file} does not fit the versions beside it{reason}; the next command "
        "that writes to the workdir puts it right"
    )


def stable_versions(folder: pathlib.Path) -> set[int]:
    """Returns the versions with the label `stable`, of all served models.

    Args:
        folder: The folder of the models' folders.
    """
    models = sorted(folder.iterdir()) if folder.is_dir() else []
    return {v for v in map(stable_version, models) if v is not None}


def stable_version(folder: pathlib.Path) -> int | None:
    """Returns the version with the label `stable`, or None.

    Args:
        folder: The model's folder.
    """
    try:
        found = _STABLE.search((folder / FILE).read_text())
    except (OSError, ValueError):
        return None
    return int(found[1]) if found else None
