"""Packs masks into bits and compresses them.

Packed masks have 2, 4 or 8 bits per weight, with the first weight in the
lowest bits of the first byte. Compressed masks are a header and a zstandard
frame of the packed mask.
"""

import functools
import math
import struct
from collections.abc import Sequence

import numpy as np
import zstandard

from packnet_tf.errors import PackNetError, StateError
from packnet_tf.masks.aligned import aligned_copy, aligned_zeros
from packnet_tf.masks.ownership import FREE, blocks, check_mask

_MAGIC = b"PNMK"
_VERSION = 1
_HEADER = struct.Struct("<4sBBB")  # magic, version, bits, ndim; then the shape


def bits_needed(mask: np.ndarray) -> int:
    """Returns the bits per weight of the packed mask: 2, 4 or 8.

    2 bits hold owners up to 3, and 4 bits those up to 15.
    """
    check_mask(mask)
    highest = int(mask.max(initial=FREE))
    return 2 if highest < 4 else 4 if highest < 16 else 8


def pack_bits(mask: np.ndarray) -> np.ndarray:
    """Returns the mask with `bits_needed(mask)` bits per weight.

    Args:
        mask: uint8 array of any shape.

    Returns:
        uint8 array of one dimension and `ceil(mask.size * bits / 8)`
        elements; unused bits of the last are 0.

    Example:
        >>> pack_bits(np.array([1, 2, 0, 3, 1], np.uint8))
        array([201,   1], dtype=uint8)
    """
    bits = bits_needed(mask)
    flat = np.ascontiguousarray(mask).reshape(-1)
    if bits == 8:
        return flat.copy()
    each = 8 // bits
    packed = np.empty(-(-flat.size // each), np.uint8)
    words = flat[: flat.size // each * each].view(_word(bits))
    # The product moves each mask byte to its place in the top byte: for two
    # bits 0 -> 24, 8 -> 26, 16 -> 28 and 24 -> 30. Nothing carries into it.
    top = 8 * (each - 1)
    factor = words.dtype.type(
        sum(1 << (top - (8 - bits) * place) for place in range(each))
    )
    for block in blocks(words.size):
        packed[block] = (words[block] * factor) >> words.dtype.type(top)
    if packed.size > words.size:
        rest = flat[words.size * each :]
        packed[-1] = sum(
            int(owner) << (bits * place) for place, owner in enumerate(rest)
        )
    return packed


def unpack_bits(
    packed: np.ndarray, shape: Sequence[int], bits: int
) -> np.ndarray:
    """Returns the mask that `pack_bits` packed.

    Args:
        packed: uint8 array of one dimension.
        shape: The mask's shape.
        bits: Bits per weight: 2, 4 or 8.

    Returns:
        A new uint8 array of shape `shape`.

    Raises:
        PackNetError: If `packed` has the wrong length.
    """
    shape = tuple(int(size) for size in shape)
    size = math.prod(shape)
    expected = _packed_size(size, bits)
    if packed.dtype != np.uint8 or packed.shape != (expected,):
        raise PackNetError(
            f"A packed mask of shape {shape} with {bits} bits a weight is a "
            f"uint8 array of {expected} elements; received {packed.dtype} of "
            f"shape {packed.shape}."
        )
    if bits == 8:
        return aligned_copy(packed).reshape(shape)
    flat = aligned_zeros((expected * (8 // bits),), np.uint8)
    words = flat.view(_word(bits))
    steps: tuple[tuple[int, int], ...]
    if bits == 2:
        steps = ((12, 0x000F000F), (6, 0x03030303))
    else:
        steps = ((4, 0x0F0F),)
    for block in blocks(words.size):
        spread = words[block]
        spread[...] = packed[block]
        # Each step splits the remaining groups of bits in half.
        for shift, keep in steps:
            spread |= spread << words.dtype.type(shift)
            spread &= words.dtype.type(keep)
    return flat[:size].reshape(shape)


def compress(mask: np.ndarray) -> np.ndarray:
    """Returns the mask packed and compressed with zstandard level 1.

    Equal masks give equal bytes.

    Args:
        mask: uint8 array of any shape.

    Returns:
        uint8 array of one dimension, for `decompress`.
    """
    header = _HEADER.pack(_MAGIC, _VERSION, bits_needed(mask), mask.ndim)
    header += struct.pack(f"<{mask.ndim}Q", *mask.shape)
    compressor = zstandard.ZstdCompressor(
        level=1, write_checksum=True, write_content_size=True
    )
    payload = compressor.compress(pack_bits(mask).data)
    return np.frombuffer(header + payload, np.uint8)


def decompress(blob: np.ndarray | bytes, shape: Sequence[int]) -> np.ndarray:
    """Returns the mask that `compress` compressed.

    Safe on untrusted bytes: nothing larger than a mask of `shape` is
    allocated.

    Args:
        blob: uint8 array of one dimension, or bytes.
        shape: The mask's expected shape, its kernel's.

    Returns:
        A new uint8 array of shape `shape`.

    Raises:
        StateError: If the bytes are not a compressed mask of that shape.
    """
    shape = tuple(int(size) for size in shape)
    if isinstance(blob, np.ndarray) and (
        blob.dtype != np.uint8 or blob.ndim != 1
    ):
        raise _damaged(
            f"it has dtype {blob.dtype} and {blob.ndim} dimensions, not uint8 "
            "and one"
        )
    if isinstance(blob, np.ndarray):
        data = memoryview(np.ascontiguousarray(blob))  # type: ignore[arg-type]
    else:
        data = memoryview(blob)
    bits, payload = _read_header(data, shape)
    expected = _packed_size(math.prod(shape), bits)
    try:
        # Checked before anything is allocated; -1 means "unknown".
        size = zstandard.frame_content_size(payload)
        if size != expected:
            raise _damaged(f"{size} bytes are packed in it, not {expected}")
        packed = zstandard.ZstdDecompressor().decompress(
            payload, max_output_size=expected, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise _damaged(str(error)) from error
    if len(packed) != expected:
        raise _damaged(f"{len(packed)} bytes came out of it, not {expected}")
    return unpack_bits(np.frombuffer(packed, np.uint8), shape, bits)


def _read_header(
    data: memoryview, shape: tuple[int, ...]
) -> tuple[int, memoryview]:
    """Checks the header; returns the bits per weight and the frame."""
    if len(data) < _HEADER.size:
        raise _damaged(f"it has {len(data)} bytes, fewer than its header")
    magic, version, bits, ndim = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise _damaged(f"it begins with {magic!r}, not {_MAGIC!r}")
    if version != _VERSION:
        raise StateError(
            f"A compressed mask has format version {version}; this release "
            f"reads {_VERSION}. Install a newer packnet_tf."
        )
    if bits not in (2, 4, 8):
        raise _damaged(f"it has {bits} bits a weight, not 2, 4 or 8")
    end = _HEADER.size + 8 * ndim
    if len(data) < end:
        raise _damaged(f"it has {len(data)} bytes, fewer than its header")
    stored = struct.unpack_from(f"<{ndim}Q", data, _HEADER.size)
    if stored != shape:
        raise StateError(
            f"A compressed mask has shape {_short(stored)}, but its kernel has "
            f"shape {shape}; load it into the network that it was saved from."
        )
    return bits, data[end:]


def _damaged(reason: str) -> StateError:
    return StateError(
        f"A compressed mask is damaged: {reason}. Use another copy of the "
        "file, or an earlier packed state."
    )


def _short(shape: tuple[int, ...]) -> str:
    # A damaged header may claim 255 dimensions.
    return f"{shape}" if len(shape) <= 8 else f"of {len(shape)} dimensions"


def _packed_size(size: int, bits: int) -> int:
    if bits not in (2, 4, 8):
        raise PackNetError(f"Expected 2, 4 or 8 bits a weight; got {bits}.")
    return -(-size * bits // 8)


@functools.cache
def _word(bits: int) -> np.dtype:
    """Returns the integer type of the mask bytes that share a packed byte."""
    return np.dtype({2: "<u4", 4: "<u2"}[bits])
