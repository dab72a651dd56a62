"""Opens the weights inside a `.keras` file without reading all of them."""

import io
import struct
import zipfile
from typing import IO

WEIGHTS = "model.weights.h5"
_HEADER = 30
# Where the header of a member has the lengths of its name and extra field.
_LENGTHS = struct.Struct("<26xHH")


def opened_weights(archive: zipfile.ZipFile) -> IO[bytes]:
    """Opens the weights of a `.keras` file, to be read here and there.

    HDF5 jumps to and fro. A `zipfile` member goes back by reading all from
    its beginning, so an uncompressed one is read from the file itself. Its
    checksum is not looked at.

    Args:
        archive: The file.

    Raises:
        KeyError: If it has no weights.
        zipfile.BadZipFile: If it is damaged.
    """
    info = archive.getinfo(WEIGHTS)
    member = archive.open(info)  # Compares the two headers.
    if info.compress_type != zipfile.ZIP_STORED or archive.filename is None:
        return member
    member.close()
    file = open(archive.filename, "rb")
    file.seek(info.header_offset)
    name, extra = _LENGTHS.unpack(file.read(_HEADER))
    start = info.header_offset + _HEADER + name + extra
    return io.BufferedReader(_Part(file, start, info.file_size))


class _Part(io.RawIOBase):
    """A part of a file, as a file of its own; closes the file."""

    def __init__(self, file: IO[bytes], start: int, size: int):
        self._file = file
        self._start = start
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {
            io.SEEK_SET: 0,
            io.SEEK_CUR: self._place,
            io.SEEK_END: self._size,
        }[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer) -> int:
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._place))
        self._file.seek(self._start + self._place)
        read = self._file.readinto(view[:count])  # type: ignore[attr-defined]
        self._place += read
        return read

    def close(self) -> None:
        self._file.close()
        super().close()
