"""The memory of this process: what it has, and the most that it had."""

import ctypes
import pathlib

_STATUS = pathlib.Path("/proc/self/status")


def memory() -> int:
    """Returns the bytes that the process has now."""
    return _read("VmRSS:")


def peak() -> int:
    """Returns the most bytes that it had since `reset_peak`."""
    return _read("VmHWM:")


def reset_peak() -> None:
    """Forgets the peak so far."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def trim() -> None:
    """Gives back what is free and only kept by the allocator."""
    ctypes.CDLL(None).malloc_trim(0)


def _read(what: str) -> int:
    return int(_STATUS.read_text().split(what)[1].split()[0]) * 1024
