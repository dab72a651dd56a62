"""`models.config`: which versions TensorFlow Serving loads, and their labels.

Two labels: `latest` is the newest version, and `stable` one that stays where
it is until it is moved. So a new task is tried by `latest` while all others
go on asking `stable`, and going back is moving a label.
"""

import os
import pathlib
import re
from collections.abc import Collection

from packnet_tf import atomic_files
from packnet_tf.errors import StateError

FILE = "models.config"
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
_STABLE = re.compile(r'key: "stable"\s+value: (\d+)')


def write_config(
    folder: pathlib.Path,
    versions: Collection[int],
    stable: int | None = None,
) -> bool:
    """Writes `models.config` beside the versions of a model, whole.

    Args:
        folder: The model's folder; its name is the model's.
        versions: The versions that are there.
        stable: The version for the label `stable`; by default the one that
            has it, or the newest.

    Returns:
        Whether it was not there, or told other versions or labels.

    Raises:
        StateError: If there is no such version, or the disk is full.
    """
    if not versions:
        return False
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
    content = _CONFIG.format(
        name=folder.name,
        path=path,
        versions="".join(
            f"\n        versions: {version}"
            for version in sorted({stable, latest})
        ),
        stable=stable,
        latest=latest,
    ).encode()
    file = folder / FILE
    before = file.read_bytes() if file.exists() else b""
    if before != content:
        atomic_files.write_file(file, content)
    # A workdir that was moved has another path, and is no other for that.
    return _PATH.sub(b"", before) != _PATH.sub(b"", content)


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
