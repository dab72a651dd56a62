"""Checks untrusted `.keras`, `.h5` and `.npz` files before they are read.

They are judged by the directory of the archive and the headers of its arrays.
The files of a workdir are not compressed, so that reading them takes no more
memory than their length; of other files, a few bytes never unpack to many. No
member is unpacked to disk, and no code in them is run.
"""

import contextlib
import math
import pathlib
import re
import zipfile
import zlib
from typing import IO

import h5py
import numpy as np

from packnet_tf.errors import StateError, first_line
from packnet_tf.untrusted.members import opened_weights

_MEMBERS = r"metadata\.json|config\.json|model\.weights\.h5"
# With the vocabularies of text layers, each in a folder of its layer.
_NAME = r"[A-Za-z0-9_-][^/\\:]*"
_NETWORK = re.compile(rf"{_MEMBERS}|assets/({_NAME}/)+{_NAME}")
_MODEL = re.compile(rf"{_MEMBERS}|assets/({_NAME}/?)*")
_ARRAY = re.compile(r"[A-Za-z0-9_]+\.npy")
# The least that remains of weights and of images when they are compressed; what
# unpacks to few bytes may have been more.
_WEIGHTS, _IMAGES = 0.05, 0.01
_FEW_BYTES = 1 << 26
_MAGIC = np.lib.format.MAGIC_PREFIX


def check_network_archive(path: pathlib.Path) -> None:
    """Refuses a `.keras` file with anything but a network's members.

    Args:
        path: The file.

    Raises:
        StateError: If it is damaged, has another member (such as one with an
            absolute name or `..`) or a compressed one, or if its weights are
            compressed, external, or smaller than they claim.
    """
    _check_keras(path, _NETWORK)


def check_model_archive(path: pathlib.Path) -> None:
    """Refuses a `.keras` file of any model that is not as Keras writes it.

    Args:
        path: The file.

    Raises:
        StateError: As `check_network_archive`, but assets of layers are
            allowed, and members compressed as weights can be.
    """
    _check_keras(path, _MODEL, share=_WEIGHTS)


def check_weights_file(path: pathlib.Path) -> None:
    """Refuses an `.h5` file whose arrays are larger than what is in it.

    Args:
        path: The file.

    Raises:
        StateError: If it is damaged, or has compressed or external arrays,
            or links.
    """
    with open(path, "rb") as file:
        _check_weights(file, path)


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
            _check_array(archive, info, path)


def check_image_archive(path: pathlib.Path) -> None:
    """Refuses a `.npz` file of images that unpacks to far more than images.

    Args:
        path: The file, compressed or not.

    Raises:
        StateError: If its arrays do not have the size that their headers
            claim, or if it is a few bytes that unpack to many.
    """
    with _opened(path) as archive:
        _check_size(archive, path, _IMAGES)
        for info in archive.infolist():
            with archive.open(info) as member:
                is_array = member.read(len(_MAGIC)) == _MAGIC
            if is_array:  # NumPy passes over others.
                _check_array(archive, info, path, objects=True)


def check_compressed(path: pathlib.Path, limit: int) -> None:
    """Refuses a zlib file that unpacks to more bytes than it should.

    Args:
        path: The file.
        limit: The most bytes that it may hold.

    Raises:
        StateError: If it holds more.
    """
    size, unpacking = 0, zlib.decompressobj()
    with open(path, "rb") as file, contextlib.suppress(zlib.error):
        while part := unpacking.unconsumed_tail or file.read(1 << 16):
            size += len(unpacking.decompress(part, 1 << 20))
            if size > limit:
                raise StateError(
                    f"{path} is damaged: it unpacks to more than the "
                    f"{limit:,} bytes of its network."
                )


def _opened(path: pathlib.Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except Exception as error:
        raise _damaged(path, error) from error


def _check_keras(
    path: pathlib.Path, names: re.Pattern[str], share: float = 1.0
) -> None:
    with _opened(path) as archive:
        _check_members(archive, path, names, stored=share == 1.0)
        _check_size(archive, path, share)
        try:
            member = opened_weights(archive)
        except Exception as error:
            raise _damaged(path, error) from error
        with member:
            _check_weights(member, path)


def _check_weights(file: IO[bytes], path: pathlib.Path) -> None:
    try:
        with h5py.File(file, "r") as store:
            _check_group(store, path)
    except StateError:
        raise
    except Exception as error:
        # Damaged content can make the HDF5 library raise anything.
        raise _damaged(path, error) from error


def _check_array(
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    path: pathlib.Path,
    objects: bool = False,
) -> None:
    """Reads the header of an array, and compares it with what is in it.

    Pickled objects are refused, or left to the one who loads them.
    """
    try:
        with archive.open(info) as member:
            shape, dtype = _array_header(member)
            start = member.tell()
    except Exception as error:
        raise _damaged(path, error) from error
    size = dtype.itemsize * math.prod(shape)
    if objects and dtype.hasobject:
        return
    if dtype.hasobject or size != info.file_size - start:
        raise StateError(
            f"{path} is damaged: {info.filename} claims {shape} of "
            f"{dtype}, which is not what is in it."
        )


def _check_members(
    archive: zipfile.ZipFile,
    path: pathlib.Path,
    names: re.Pattern[str],
    stored: bool = True,
) -> None:
    seen = set()
    for info in archive.infolist():
        name = info.filename
        if not names.fullmatch(name) or name in seen:
            raise StateError(
                f"{path} holds the member {name[:80]!r}, which does not "
                "belong there; use a copy that nobody has changed."
            )
        compressed = info.compress_type != zipfile.ZIP_STORED
        if (stored and compressed) or info.flag_bits & 1:
            raise StateError(
                f"{path} holds {name} compressed or encrypted, which "
                "packnet_tf never writes; use a copy that nobody has changed."
            )
        seen.add(name)


def _check_size(
    archive: zipfile.ZipFile, path: pathlib.Path, share: float
) -> None:
    """Refuses a few bytes that unpack to many."""
    size = sum(info.file_size for info in archive.infolist())
    packed = path.stat().st_size
    if size > max(_FEW_BYTES, packed / share):
        raise StateError(
            f"{path} has {packed:,} bytes that unpack to {size:,}, as no "
            "weights or images do; if they are yours, write them uncompressed."
        )


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
                f"{part.dtype}, which is not what is in it, uncompressed."
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
