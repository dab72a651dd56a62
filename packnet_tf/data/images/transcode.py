"""Converts image files that TensorFlow misreads to PNG.

TensorFlow ignores EXIF rotation, and reads CMYK, palettes and 16 bits per
channel wrongly or not at all. Pillow converts such files to lossless PNG as
they are read.
"""

import io
import struct

import numpy as np
from PIL import Image

from packnet_tf.errors import DataError

# File name extensions of an image folder, in any case.
EXTENSIONS = tuple("jpg jpeg jfif png bmp gif webp tif tiff".split())

# The most pixels of an image, as in Pillow: a file that claims more is usually
# an attempt to exhaust memory.
MAX_PIXELS = 178_956_970

_TOO_LARGE = f"The image has more than {MAX_PIXELS:,} pixels."
# What messages say of a damaged image.
CORRUPT = "The image is corrupt or truncated."

# What Pillow raises for damaged files.
_DAMAGED = (
    *(OSError, SyntaxError, ValueError, struct.error),
    *(ArithmeticError, AttributeError, EOFError, LookupError, TypeError),
)

# Formats that Pillow may try, whatever the file's extension.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")

# TIFF files also hold measurements, of no known range, and other colours.
_NO_LEVELS = ("F", "I", "LAB")

# Not ImageOps.exif_transpose, which also rewrites the rest of EXIF and fails on
# irrelevant damage there (TypeError, AttributeError; Pillow 13).
_EXIF_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# PNG files have EXIF in a chunk or, from older programs, in a text, before or
# after the pixels.
_EXIF_IN_PNG = (b"eXIf", b"Raw profile type exif")

# JPEG markers: baseline and progressive frames, EXIF's segment, the pixels,
# and the range of those with a length.
_FRAMES = (0xC0, 0xC1, 0xC2)
_APP1 = 0xE1
_SCAN = 0xDA
_FIRST, _LAST = 0xC4, 0xFE


def needs_conversion(encoded: bytes) -> bool:
    """Returns whether TensorFlow would misread an image.

    True for everything but plain JPEG and PNG: EXIF orientation, CMYK,
    a palette, 16 bits per channel, and every other format.

    Args:
        encoded: The bytes of an image file.

    Raises:
        DataError: If the bytes do not begin like an image, or the image has
            more than `MAX_PIXELS`.
    """
    if _is_plain_jpeg(encoded):
        return False
    with _open(encoded) as image:
        # Cameras write JPEG files of several pictures (MPO).
        if image.format == "TIFF" and image.mode in _NO_LEVELS:
            raise DataError(
                f"The TIFF file has pixels of Pillow's mode {image.mode}, not "
                "grey or RGB of 8 or 16 bits; convert it."
            )
        if image.format not in ("JPEG", "MPO", "PNG"):
            return True
        if image.mode not in ("RGB", "L", "RGBA", "LA"):
            return True
        if image.format == "PNG" and encoded[24] == 16:  # IHDR's bit depth
            return True
        # Parsing EXIF costs more than everything above.
        return _has_exif(image, encoded) and _orientation(image) != 1


def _has_exif(image: Image.Image, encoded: bytes) -> bool:
    if image.format == "PNG":
        return any(mark in encoded for mark in _EXIF_IN_PNG)
    return "exif" in image.info


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_EXIF_ORIENTATION, 1)
    except _DAMAGED as error:
        raise DataError(CORRUPT) from error


def _is_plain_jpeg(encoded: bytes) -> bool:
    """Returns whether the markers show a JPEG file without quirks.

    Nearly all files are plain, and Pillow takes several times as long.
    """
    if encoded[:2] != b"\xff\xd8":
        return False
    plain = False
    place, end = 2, len(encoded) - 9
    while place < end and encoded[place] == 0xFF:
        marker = encoded[place + 1]
        if marker == _SCAN:
            return plain
        if marker in _FRAMES:
            # Precision in bits, height and width, number of channels.
            plain = encoded[place + 4] == 8 and encoded[place + 9] in (1, 3)
            height = int.from_bytes(encoded[place + 5 : place + 7], "big")
            width = int.from_bytes(encoded[place + 7 : place + 9], "big")
            if height * width > MAX_PIXELS:
                raise DataError(_TOO_LARGE)
        elif marker == _APP1 or not _FIRST <= marker <= _LAST:
            # EXIF, or something unusual: Pillow decides.
            return False
        length = int.from_bytes(encoded[place + 2 : place + 4], "big")
        place += 2 + length
    return False


def as_readable(encoded: bytes) -> bytes:
    """Returns an image as `decode` reads it faithfully, perhaps as PNG.

    Args:
        encoded: The bytes of an image file.

    Returns:
        The same bytes, or those of a lossless PNG: EXIF orientation applied,
        CMYK and palette as RGB, 16 bits as their upper 8, the first frame.

    Raises:
        DataError: If the bytes are not an image, or a damaged one.
    """
    if not needs_conversion(encoded):
        return encoded
    with _open(encoded) as image:
        try:
            # Pillow turns TIFF as it loads; then its orientation is 1.
            image.load()
            turn = _TURNS.get(_orientation(image))
            if turn is not None:
                image = image.transpose(turn)
            if image.mode.startswith("I"):
                levels = np.asarray(image).astype(np.int64) >> 8
                image = Image.fromarray(levels.clip(0, 255).astype(np.uint8))
            image = image.convert("RGB")
        except _DAMAGED as error:
            raise DataError(CORRUPT) from error
        # Only the pixels are wanted, and Pillow cannot write all that it reads:
        # the transparent level of 1 bit per pixel.
        image.info.clear()
        stream = io.BytesIO()
        image.save(stream, "PNG", compress_level=1)
        return stream.getvalue()


def _open(encoded: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(encoded), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise DataError(_TOO_LARGE) from error
    except _DAMAGED as error:
        kinds = ", ".join(EXTENSIONS)
        raise DataError(
            f"The file is not an image of a known kind ({kinds}), or is "
            "corrupt."
        ) from error
    if image.width * image.height > MAX_PIXELS:
        raise DataError(_TOO_LARGE)
    return image
