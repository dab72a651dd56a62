"""Turns an encoded image into the pixels that a network sees, in one way.

Validation, evaluation and prediction all use `evaluation_resize`, and training
the same `working_image` before its random crop. Decoders and resizers differ
by many levels (fast and accurate JPEG decoding by up to 8, resizing with and
without antialias by up to 99), so there is only this one, made of TensorFlow
ops so that it can become part of a SavedModel.
"""

import io

import numpy as np
import tensorflow as tf
from PIL import Image

from packnet_tf.data.images.preprocessing import (
    PERMUTED_SIDE,
    PIXEL_FACTS,
    Preprocessing,
)
from packnet_tf.data.images.transcode import CORRUPT, as_readable
from packnet_tf.errors import DataError

# TensorFlow 2.19 cannot.
READS_WEBP = hasattr(tf.io, "decode_webp")


def blank_png() -> bytes:
    """Returns a black image file that every `Preprocessing` accepts."""
    stream = io.BytesIO()
    Image.new("RGB", (PERMUTED_SIDE, PERMUTED_SIDE)).save(stream, "PNG")
    return stream.getvalue()


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes one JPEG or PNG file.

    Args:
        encoded: Scalar string tensor, the bytes of a file for which
            `needs_conversion` is false.

    Returns:
        uint8 tensor of shape [height, width, 3], as Pillow would decode it.
    """
    # The op also reads PNG, and no other offers the DCT method.
    image = tf.io.decode_jpeg(
        encoded, channels=3, dct_method=PIXEL_FACTS["dct_method"]
    )
    image.set_shape([None, None, 3])
    return image


def decode_any(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes one image file of any kind that TensorFlow reads faithfully.

    It is for graphs, which cannot call Pillow: JPEG, PNG, GIF (the first
    frame, if it fills the canvas), 24-bit BMP and, if `READS_WEBP`, WebP (not
    animated). EXIF orientation is ignored.

    Args:
        encoded: Scalar string tensor, the bytes of a file.

    Returns:
        uint8 tensor of shape [height, width, 3], the same as `decode` makes
        of the result of `as_readable`.

    Raises:
        tf.errors.InvalidArgumentError: When run on anything else.
    """
    head = tf.strings.substr(encoded, 0, 2)
    webp = tf.strings.substr(encoded, 0, 4) == b"RIFF"
    cases = [
        (head == b"BM", lambda: _decode_bmp(encoded)),
        (head == b"GI", lambda: _decode_gif(encoded)),
    ]
    if READS_WEBP:
        cases.append((webp, lambda: _decode_webp(encoded)))
    image = tf.case(cases, default=lambda: decode(encoded))
    return tf.ensure_shape(image, [None, None, 3])


def _decode_bmp(encoded: tf.Tensor) -> tf.Tensor:
    # TensorFlow reads palette indices as grey levels.
    plain = tf.strings.substr(encoded, 28, 2) == b"\x18\x00"
    check = tf.debugging.Assert(plain, ["a BMP file of other than 24 bits"])
    with tf.control_dependencies([check]):
        return tf.io.decode_bmp(encoded, channels=3)


def _decode_gif(encoded: tf.Tensor) -> tf.Tensor:
    # `decode_gif` would decode all frames, in the memory of all.
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    # TensorFlow leaves out the canvas around a smaller frame.
    canvas = tf.io.decode_raw(tf.strings.substr(encoded, 6, 4), tf.uint16)
    fills = tf.reduce_all(
        tf.cast(canvas[::-1], tf.int32) == tf.shape(image)[:2]
    )
    check = tf.debugging.Assert(fills, ["a GIF frame that is not the canvas"])
    with tf.control_dependencies([check]):
        return tf.identity(image)


def _decode_webp(encoded: tf.Tensor) -> tf.Tensor:
    # TensorFlow 2.21 writes an animation's frames beyond its memory, which
    # ends the process.
    flags = tf.io.decode_raw(tf.strings.substr(encoded, 20, 1), tf.uint8)
    animated = (tf.strings.substr(encoded, 12, 4) == b"VP8X") & tf.reduce_any(
        tf.bitwise.bitwise_and(flags, 2) > 0
    )
    check = tf.debugging.Assert(~animated, ["an animated WebP file"])
    with tf.control_dependencies([check]):
        # Whatever the order of execution, the op never sees an animation.
        still = tf.where(animated, b"", encoded)
    # With an alpha channel, it refuses to give three.
    return tf.io.decode_webp(still, channels=0)[0][..., :3]


def working_image(
    image: tf.Tensor, image_size: int, preprocessing: Preprocessing
) -> tf.Tensor:
    """Resizes an image to the size from which the network's square is cut.

    Args:
        image: uint8 tensor of shape [height, width, 3].
        image_size: Height and width of the network's images, in pixels.
        preprocessing: The task's choices.

    Returns:
        uint8 tensor of shape [height', width', 3], both at least
        `preprocessing.working_size(image_size)`.
    """
    if preprocessing.permutation is not None:
        image = _permuted(image, preprocessing.permutation)
    short = preprocessing.working_size(image_size)
    sides = tf.shape(image)[:2]
    squash = preprocessing.resize == "squash"
    if squash:
        size = tf.constant([short, short])
    else:
        least = tf.reduce_min(sides)
        # Integers, so that the short side is exact and the other is rounded.
        size = (sides * short + least // 2) // least
    # The op inside tf.image.resize(image, size, "bilinear", antialias=True),
    # without the dozen small ops around it, 5 % of the pipeline's time.
    resized = tf.raw_ops.ScaleAndTranslate(
        images=tf.expand_dims(image, 0),
        size=size,
        scale=tf.cast(size, tf.float32) / tf.cast(sides, tf.float32),
        translation=[0.0, 0.0],
        kernel_type="triangle",
        antialias=True,
    )
    # Whole levels, so that images can be stored as bytes without loss. They
    # are weighted means of levels, so none is out of range.
    working = tf.cast(tf.round(tf.squeeze(resized, [0])), tf.uint8)
    side = short if squash else None
    working.set_shape([side, side, 3])
    return working


def _permuted(image: tf.Tensor, seed: int) -> tf.Tensor:
    side = PERMUTED_SIDE
    # NumPy guarantees that this old generator's numbers never change.
    order = np.random.RandomState(seed).permutation(side * side)
    pixels = tf.gather(tf.reshape(image, [side * side, 3]), order)
    return tf.reshape(pixels, [side, side, 3])


def centre_square(image: tf.Tensor, image_size: int) -> tf.Tensor:
    """Cuts the centre square of `image_size` pixels out of an image."""
    sides = tf.shape(image)[:2]
    top, left = tf.unstack((sides - image_size) // 2)
    square = image[top : top + image_size, left : left + image_size]
    return tf.ensure_shape(square, [image_size, image_size, 3])


def evaluation_resize(
    image: tf.Tensor,
    image_size: int,
    preprocessing: Preprocessing | None = None,
) -> tf.Tensor:
    """Returns a network's input for one image, as in evaluation.

    Args:
        image: uint8 tensor of shape [height, width, 3].
        image_size: Height and width of the network's images, in pixels.
        preprocessing: The task's choices; by default those of an image
            folder (short side to 8/7 of `image_size`, centre square).

    Returns:
        float32 tensor of shape [image_size, image_size, 3] with whole
        values from 0 to 255.

    Example:

    >>> pixels = decode(pathlib.Path("bird.jpg").read_bytes())
    >>> scores = net(evaluation_resize(pixels, 96)[None])
    """
    preprocessing = preprocessing or Preprocessing()
    image = working_image(image, image_size, preprocessing)
    return tf.cast(centre_square(image, image_size), tf.float32)


def read_for_evaluation(
    encoded: bytes,
    image_size: int,
    preprocessing: Preprocessing | None = None,
) -> tf.Tensor:
    """Returns a network's input for an image file of any kind.

    Args:
        encoded: The bytes of a file that `as_readable` takes.
        image_size: Height and width of the network's images, in pixels.
        preprocessing: The task's choices.

    Returns:
        float32 tensor of shape [image_size, image_size, 3].

    Raises:
        DataError: If the bytes are not an image, or a damaged one.
    """
    try:
        image = decode(as_readable(encoded))
    except tf.errors.OpError as error:
        raise DataError(CORRUPT) from error
    return evaluation_resize(image, image_size, preprocessing)
