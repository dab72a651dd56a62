"""Random access to the examples of TFRecord files.

TFDS reads its files from front to back, with a shuffle buffer. Shuffling the
whole set and resuming at any epoch need random access, for which an index of
where each record begins is enough.
"""

import os
import pathlib
import struct
import threading
from collections.abc import Callable, Sequence

from packnet_tf.errors import DataError

# A record is its length (uint64), a checksum of that, the bytes, a checksum.
_LENGTH = struct.Struct("<Q")
_HEAD, _TAIL = 12, 4


class RecordFiles:
    """The records of several TFRecord files, as one list.

    Args:
        pieces: For each file its path, how many records to skip, and how
            many to take after them.

    Raises:
        DataError: If a file is missing or too short.
    """

    def __init__(self, pieces: Sequence[tuple[str, int, int]]):
        self._places: list[tuple[str, int, int]] = []
        self._open: dict[str, int] = {}
        self._lock = threading.Lock()
        for path, skip, take in pieces:
            spans = _spans(path, skip + take)
            self._places.extend((path, *span) for span in spans[skip:])

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> bytes:
        path, start, length = self._places[index]
        content = os.pread(self._descriptor(path), length, start)
        if len(content) != length:
            raise DataError(f"The record file {path} is truncated.")
        return content

    # At the interpreter's exit the module `os` may be gone already.
    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        for descriptor in getattr(self, "_open", {}).values():
            close(descriptor)

    def _descriptor(self, path: str) -> int:
        with self._lock:
            if path not in self._open:
                self._open[path] = os.open(path, os.O_RDONLY)
            return self._open[path]


def _spans(path: str, count: int) -> list[tuple[int, int]]:
    """Returns where the first `count` records begin, and their lengths."""
    spans: list[tuple[int, int]] = []
    try:
        size = pathlib.Path(path).stat().st_size
        with open(path, "rb") as file:
            place = 0
            for _ in range(count):
                file.seek(place)
                head = file.read(_HEAD)
                if len(head) < _HEAD:
                    raise DataError(_short(path, len(spans), count))
                (length,) = _LENGTH.unpack_from(head)
                spans.append((place + _HEAD, length))
                place += _HEAD + length + _TAIL
                if place > size:
                    raise DataError(_short(path, len(spans) - 1, count))
    except OSError as error:
        raise DataError(
            f"The record file {path} cannot be read ({error.strerror}); "
            "prepare the data set again."
        ) from error
    return spans


def _short(path: str, found: int, count: int) -> str:
    return (
        f"The record file {path} is truncated: it holds {found} whole records "
        f"of {count}; prepare the data set again."
    )
