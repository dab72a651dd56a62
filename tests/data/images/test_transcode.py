"""Tests of packnet_tf/data/images/transcode.py."""

import contextlib
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from support.image_files import encoded, pixels

from packnet_tf.data.images import transcode
from packnet_tf.data.images.pixel_path import decode
from packnet_tf.errors import DataError


def decoded(content):
    return decode(transcode.as_readable(content)).numpy()


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_decodes_as_pillow_does(mode):
    content = encoded(Image.fromarray(pixels()).convert(mode), "JPEG")
    assert not transcode.needs_conversion(content)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert np.array_equal(decoded(content), expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
def test_plain_png_is_read_by_tensorflow(mode):
    image = Image.fromarray(pixels(channels=4)).convert(mode)
    content = encoded(image, "PNG")
    assert transcode.as_readable(content) is content
    assert np.array_equal(decoded(content), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP"])
def test_palette_images_become_rgb(kind):
    image = Image.fromarray(pixels()).quantize(16)
    content = encoded(image, kind)
    assert transcode.needs_conversion(content)
    assert np.array_equal(decoded(content), np.asarray(image.convert("RGB")))


def test_webp_and_bmp_are_read():
    image = Image.fromarray(pixels())
    for kind, options in (("WEBP", {"lossless": True}), ("BMP", {})):
        content = encoded(image, kind, **options)
        assert np.array_equal(decoded(content), np.asarray(image)), kind


def test_first_frame_of_an_animation_is_read():
    first, second = (
        Image.fromarray(pixels(seed=seed)).quantize(16) for seed in (0, 1)
    )
    content = encoded(first, "GIF", save_all=True, append_images=[second])
    assert np.array_equal(decoded(content), np.asarray(first.convert("RGB")))


def test_cmyk_jpeg_becomes_rgb():
    content = encoded(Image.fromarray(pixels()).convert("CMYK"), "JPEG")
    assert transcode.needs_conversion(content)
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert np.array_equal(decoded(content), expected)


def test_sixteen_bits_keep_the_upper_eight():
    levels = np.arange(24 * 36, dtype=np.uint16).reshape(24, 36) * 70
    content = encoded(Image.fromarray(levels), "PNG")
    assert transcode.needs_conversion(content)
    expected = np.repeat((levels >> 8).astype(np.uint8)[..., None], 3, 2)
    assert np.array_equal(decoded(content), expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK", "RGBA", "1"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate"])
def test_tiff_is_read_as_pillow_does(mode, compression):
    image = Image.fromarray(pixels()).convert(mode)
    content = encoded(image, "TIFF", compression=compression)
    assert transcode.needs_conversion(content)
    assert np.array_equal(decoded(content), np.asarray(image.convert("RGB")))


def test_tiff_of_sixteen_bits_keeps_the_upper_eight():
    levels = np.arange(24 * 36, dtype=np.uint16).reshape(24, 36) * 70
    content = encoded(Image.fromarray(levels), "TIFF")
    expected = np.repeat((levels >> 8).astype(np.uint8)[..., None], 3, 2)
    assert np.array_equal(decoded(content), expected)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_tiff_of_numbers_that_are_no_levels_is_refused(kind):
    content = encoded(Image.fromarray(np.ones((9, 9), kind)), "TIFF")
    with pytest.raises(DataError, match="mode [FI], not grey or RGB"):
        transcode.needs_conversion(content)


@pytest.mark.parametrize("mode, level", [("1", 0), ("1", 1), ("P", 3)])
def test_a_transparent_level_is_ignored(mode, level):
    image = Image.fromarray(pixels()).convert(mode)
    content = encoded(image, "PNG", transparency=level)
    assert "transparency" in Image.open(io.BytesIO(content)).info
    assert np.array_equal(decoded(content), np.asarray(image.convert("RGB")))


def test_first_page_of_a_tiff_is_read():
    first, second = (Image.fromarray(pixels(seed=seed)) for seed in (0, 1))
    content = encoded(first, "TIFF", save_all=True, append_images=[second])
    assert np.array_equal(decoded(content), np.asarray(first))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_is_turned_as_jpeg_is(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(pixels())
    tiff, png = (encoded(image, k, exif=exif) for k in ("TIFF", "PNG"))
    assert np.array_equal(decoded(tiff), decoded(png))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation):
    image = Image.fromarray(pixels())
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(image, "JPEG", exif=exif)
    assert transcode.needs_conversion(content) == (orientation != 1)
    flat = Image.open(io.BytesIO(encoded(image, "JPEG")))
    turned = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    if orientation in turned:
        flat = flat.transpose(turned[orientation])
    assert np.array_equal(decoded(content), np.asarray(flat))


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_look_at_the_markers_agrees_with_pillow(options, monkeypatch):
    for mode in ("RGB", "L", "CMYK"):
        image = Image.fromarray(pixels(60, 90)).convert(mode)
        exif = Image.Exif()
        exif[0x0112] = 3
        for more in ({}, {"exif": exif}, {"comment": b"x" * 70}):
            content = encoded(image, "JPEG", **options, **more)
            found = transcode.needs_conversion(content)
            with monkeypatch.context() as patch:
                patch.setattr(transcode, "_is_plain_jpeg", lambda _: False)
                assert transcode.needs_conversion(content) == found
            assert found == (mode == "CMYK" or "exif" in more)


def test_a_jpeg_that_ends_in_its_header_is_no_image():
    content = encoded(Image.fromarray(pixels(60, 90)), "JPEG")
    frame = content.index(b"\xff\xc0")
    with pytest.raises(DataError, match="not an image of a known kind"):
        transcode.needs_conversion(content[: frame + 40])


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff"])
def test_bytes_that_are_no_image_are_refused(content):
    with pytest.raises(DataError, match="not an image of a known kind"):
        transcode.as_readable(content)


def chunk(kind, data):
    return (
        struct.pack(">I", len(data))
        + kind
        + data
        + struct.pack(">I", zlib.crc32(kind + data))
    )


def test_exif_after_the_pixels_of_png_is_honoured():
    image = Image.fromarray(pixels())
    exif = Image.Exif()
    exif[0x0112] = 3
    content, end = encoded(image, "PNG")[:-12], chunk(b"IEND", b"")
    late = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    assert not transcode.needs_conversion(content + end)
    expected = np.asarray(image)[::-1, ::-1]
    assert np.array_equal(decoded(content + late + end), expected)


def png_of(height, width):
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(kind, data)
        for kind, data in (
            (b"IHDR", size),
            (b"IDAT", zlib.compress(b"")),
            (b"IEND", b""),
        )
    )


def jpeg_of(height, width):
    content = bytearray(encoded(Image.fromarray(pixels()), "JPEG"))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


@pytest.mark.parametrize("made", [png_of, jpeg_of])
@pytest.mark.parametrize("sides", [(13_400, 13_400), (60_000, 60_000)])
def test_images_that_would_fill_the_memory_are_refused(made, sides):
    with pytest.raises(DataError, match="more than 178,956,970 pixels"):
        transcode.as_readable(made(*sides))


def test_other_kinds_are_not_tried():
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n"
    for content in (page, encoded(Image.fromarray(pixels()), "PPM")):
        with pytest.raises(DataError, match="not an image of a known kind"):
            transcode.needs_conversion(content)


@pytest.mark.parametrize(
    "kind", ["JPEG", "MPO", "PNG", "GIF", "BMP", "WEBP", "TIFF"]
)
def test_no_damage_is_another_error(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encoded(Image.fromarray(pixels()), kind, exif=exif)
    random = np.random.default_rng(0)
    for _ in range(200):
        content = bytearray(whole)
        # TIFF files end with their directory.
        start = len(whole) - 200 if kind == "TIFF" else 0
        for place in start + random.integers(0, min(len(whole), 200), 4):
            content[place] = random.integers(0, 256)
        with contextlib.suppress(DataError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            transcode.as_readable(bytes(content))
