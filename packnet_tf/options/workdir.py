"""Checks that a folder can be written, before any work is done."""

import os
import pathlib

from packnet_tf.errors import FlagError


def check_writable(path: pathlib.Path, flag: str = "workdir") -> None:
    """Refuses a folder that cannot be written, without creating it.

    Args:
        path: The folder, which need not exist.
        flag: The flag that names it.

    Raises:
        FlagError: Naming the folder.
    """
    existing = path
    try:
        while not existing.exists():
            existing = existing.parent
        if not existing.is_dir():
            raise FlagError(
                f"--{flag}={path}: {existing} is a file; give a folder."
            )
        probe = existing / f".packnet_tf_{os.getpid()}"
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        if isinstance(error, FlagError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise FlagError(
            f"--{flag}={path}: cannot write to {existing} ({reason}); choose "
            "another folder."
        ) from error
