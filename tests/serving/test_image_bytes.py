"""Animated files, of which TensorFlow reads too much."""

import struct
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support.image_files import encoded, pixels

from packnet_tf.data.images.pixel_path import READS_WEBP, decode_any
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.images.transcode import as_readable
from packnet_tf.serving.image_bytes import pixels_of

SIZE = 8
needs_webp = pytest.mark.skipif(
    not READS_WEBP, reason="this TensorFlow does not decode WebP"
)


def animated(kind, frames=3, side=24, **options):
    images = [
        Image.fromarray(pixels(side, side, seed=number))
        for number in range(frames)
    ]
    return encoded(
        images[0], kind, save_all=True, append_images=images[1:], **options
    )


def with_flags(content, flags):
    """Returns a WebP file with other flags of what is in it."""
    return content[:20] + bytes([flags]) + content[21:]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    module = tf.Module()
    module.pixels = pixels_of(SIZE, Preprocessing())
    path = str(tmp_path_factory.mktemp("bytes") / "1")
    tf.saved_model.save(module, path, signatures={"pixels": module.pixels})
    return path


@needs_webp
@pytest.mark.parametrize("flags", [0x02, 0x12, 0xFF])
def test_an_animated_webp_is_refused_where_it_is_served(path, flags):
    bad = with_flags(animated("WEBP"), flags)
    good = encoded(Image.fromarray(pixels()), "WEBP")
    served = tf.saved_model.load(path).signatures["pixels"]
    for _ in range(3):
        with pytest.raises(
            tf.errors.InvalidArgumentError,
            match=r"row 1, 2 .* WebP \(no animated WebP\)",
        ):
            served(tf.constant([good, bad, bad[:40]]))


@needs_webp
@pytest.mark.parametrize("frames", [1, 2])
def test_an_animated_webp_is_refused_in_any_program(frames):
    bad = animated("WEBP", frames, minimize_size=True)
    if frames == 1:  # Pillow writes a file of one frame without the flag.
        bad = bad[:12] + struct.pack("<4sI10x", b"VP8X", 10) + bad[12:]
        bad = with_flags(bad, 2)

    @tf.function
    def mapped(files):
        return tf.map_fn(
            decode_any,
            files,
            fn_output_signature=tf.TensorSpec([None] * 3, tf.uint8),
        )

    for call in (
        lambda: decode_any(bad),
        lambda: tf.function(decode_any)(tf.constant(bad)),
        lambda: mapped(tf.constant([bad])),
    ):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="an animated WebP file"
        ):
            call()


@needs_webp
def test_a_webp_that_says_less_than_it_holds_is_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match="WebP"):
        decode_any(with_flags(animated("WEBP"), 0))


@pytest.mark.parametrize("disposal", [1, 2])
def test_the_first_frame_of_a_gif(disposal):
    content = animated("GIF", disposal=disposal)
    found = decode_any(content)
    assert np.array_equal(found, tf.io.decode_gif(content)[0])
    first = tf.io.decode_png(as_readable(content), channels=3)
    assert np.array_equal(found, first)


@pytest.mark.parametrize("frames", [1, 3])
def test_a_frame_that_is_not_the_canvas_is_refused(frames):
    content = bytearray(animated("GIF", frames))
    content[6:8] = struct.pack("<H", 99)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="a GIF frame that is not"
    ):
        decode_any(bytes(content))


_MEMORY = """
import resource, sys
import tensorflow as tf
from packnet_tf.data.images.pixel_path import decode_any
kept = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
content = open(sys.argv[1], "rb").read()
before = kept()
decode_any(content)
print(kept() - before)
"""


def test_a_gif_of_many_frames_takes_the_memory_of_one(tmp_path):
    pytest.importorskip("resource")
    side, frames = 1000, 60
    file = tmp_path / "many.gif"
    file.write_bytes(animated("GIF", frames, side))
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(file)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) * 1024 < frames * side * side * 3 / 2
