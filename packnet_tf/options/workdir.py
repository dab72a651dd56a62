"""Checks that a workdir can be written, before any work is done."""

import os
import pathlib

from packnet_tf.errors import FlagError


def check_writable(path: pathlib.Path) -> None:
    """Refuses a workdir that cannot be written, without creating it.

    Args:
        path: The workdir, which need not exist.

    Raises:
        FlagError: Naming the folder.
    """
    existing = path
    try:
        while not existing.exists():
            existing = existing.parent
        if not existing.is_dir():
            raise FlagError(
                f"--workdir={path}: {existing} is a file; give a folder."
            )
        probe = existing / f".packnet_tf_{os.getpid()}"
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        if isinstance(error, FlagError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise FlagError(
            f"--workdir={path}: cannot write to {existing} ({reason}); choose "
            "another folder."
        ) from error
