"""Checks untrusted `.keras` and `.npz` archives before they are read.

Those of a workdir hold a few uncompressed members of known names, so that
reading them takes no more memory than the file's length; anything else is
refused by name. No member is unpacked to disk, and no code in them is run.
"""

import pathlib
import re
import zipfile
from typing import IO

import h5py
import numpy as np

from packnet_tf.errors import StateError, first_line

_NETWORK = re.compile(r"metadata\.json|config\.json|model\.weights\.h5")
_ARRAY = re.compile(r"[A-Za-z0-9_]+\.npy")


def check_network_archive(path: pathlib.Path) -> None:
    """Refuses a `.keras` file with anything but a network's three members.

    Args:
        path: The file.

    Raises:
        StateError: If it is damaged, has another member (such as one with an
            absolute name or `..`) or a compressed one, or if its weights are
            compressed, external, or smaller than they claim.
    """
    with _opened(path) as archive:
        _check_members(archive, path, _NETWORK)
        try:
            with (
                archive.open("model.weights.h5") as member,
                h5py.File(member, "r") as file,
            ):
                _check_group(file, path)
        except StateError:
            raise
        except Exception as error:
            # Damaged content can make the HDF5 library raise anything.
            raise _damaged(path, error) from error


def check_array_archive(path: pathlib.Path) -> None:
    """Refuses a `.npz` file whose arrays do not match their headers.

    Args:
        path: The file.

    Raises:
        StateError: If it is damaged, or holds anything but arrays of plain
            numbers with the size that their headers claim.
    """
    with _opened(path) as archive:
        _check_members(archive, path, _ARRAY)
        for info in archive.infolist():
            with archive.open(info) as member:
                try:
                    shape, dtype = _array_header(member)
                    start = member.tell()
                except Exception as error:
                    raise _damaged(path, error) from error
            size = dtype.itemsize
            for length in shape:
                size *= length
            if dtype.hasobject or size != info.file_size - start:
                raise StateError(
                    f"{path} is damaged: {info.filename} claims {shape} of "
                    f"{dtype}, which is not what is in it."
                )


def _opened(path: pathlib.Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except Exception as error:
        raise _damaged(path, error) from error


def _check_members(
    archive: zipfile.ZipFile, path: pathlib.Path, names: re.Pattern[str]
) -> None:
    seen = set()
    for info in archive.infolist():
        name = info.filename
        if not names.fullmatch(name) or name in seen:
            raise StateError(
                f"{path} holds the member {name[:80]!r}, which does not "
                "belong there; use a copy that nobody has changed."
            )
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise StateError(
                f"{path} holds {name} compressed or encrypted, which "
                "packnet_tf never writes; use a copy that nobody has changed."
            )
        seen.add(name)


def _check_group(group: h5py.Group, path: pathlib.Path) -> None:
    """Refuses links, and arrays that claim more bytes than they have."""
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise StateError(
                f"{path} is damaged: {group.name}/{name} is a link."
            )
        part = group[name]
        if isinstance(part, h5py.Group):
            _check_group(part, path)
            continue
        how = part.id.get_create_plist()
        plain = how.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
        if (
            not plain
            or how.get_external_count()
            or part.dtype.hasobject
            or part.id.get_storage_size() < part.nbytes
        ):
            raise StateError(
                f"{path} is damaged: {part.name} claims {part.shape} of "
                f"{part.dtype}, which is not what is in it."
            )


def _array_header(member: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    form = np.lib.format
    if form.read_magic(member) == (1, 0):
        shape, _, dtype = form.read_array_header_1_0(member)
    else:
        shape, _, dtype = form.read_array_header_2_0(member)
    return shape, dtype


def _damaged(path: pathlib.Path, error: Exception) -> StateError:
    return StateError(f"{path} is damaged: {first_line(error)}")
