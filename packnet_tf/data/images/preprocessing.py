"""The one way from an encoded image to the pixels that a network sees.

Validation, evaluation and prediction all go through `evaluation_resize`, and
training through the same `working_image` before its random crop. Decoders
and resizers differ by many levels (default against accurate JPEG decoding by
up to 8, with and without antialias by up to 99), so there is exactly one
here, made of TensorFlow ops so that it can become part of a SavedModel.
"""

import dataclasses
import io
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from packnet_tf.data.images.transcode import as_readable
from packnet_tf.errors import DataError

# Goes into manifests: what another program needs to get the same pixels.
PIXEL_FACTS = {
    "dct_method": "INTEGER_ACCURATE",
    "resize_method": "bilinear",
    "antialias": True,
    "rounded_to": "uint8",
}

_RESIZES = ("short_side", "squash")
_CROPS = ("random", "resized", "none")

# Pixels of the images that can be permuted: MNIST's 28 x 28.
PERMUTED_SIDE = 28


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How the images of a task become squares of the network's size.

    Attributes:
        resize: `"short_side"` keeps the aspect ratio and cuts a square;
            `"squash"` does not (the paper's CUBS and Cars).
        crop: `"random"`: training cuts its square at a random place of an
            image 8/7 as large, evaluation in the centre (256 and 224 pixels
            in the paper). `"resized"`: training cuts a random rectangle of 8
            to 100 % of that image's area and an aspect ratio from 3/4 to
            4/3, and squashes it (section 4 of the paper). `"none"`: always
            the centre, and a squashed image is not cut at all.
        flip: Whether training mirrors every other image.
        box: Whether images are cut to their bounding boxes first, where the
            source has such annotations.
        permutation: Seed of one fixed permutation of the pixels of 28 x 28
            images, or None (the task `permuted_mnist/SEED`).
    """

    resize: str = "short_side"
    crop: str = "random"
    flip: bool = True
    box: bool = False
    permutation: int | None = None

    def __post_init__(self) -> None:
        for name, legal in (("resize", _RESIZES), ("crop", _CROPS)):
            value = getattr(self, name)
            if value not in legal:
                raise DataError(
                    f"Preprocessing {name}={value!r}: expected one of "
                    f"{', '.join(legal)}."
                )

    def working_size(self, image_size: int) -> int:
        """Returns the short side of the image before the square is cut."""
        if self.resize == "squash" and self.crop == "none":
            return image_size
        return round(image_size * 8 / 7)

    def unboxed(self) -> "Preprocessing":
        """Returns what is left of it for a source without bounding boxes.

        Cutting to the box is what stands in for random crops in the paper's
        CUBS and Cars; where there are no boxes, training crops at random.
        """
        if not self.box:
            return self
        return dataclasses.replace(self, box=False, crop="random")

    def to_facts(self) -> dict[str, Any]:
        """Returns the choices as a JSON-able dictionary, for a manifest."""
        return dataclasses.asdict(self)

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> "Preprocessing":
        """Returns the preprocessing that `to_facts` described.

        Args:
            facts: A dictionary; entries of other names are ignored.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{k: v for k, v in facts.items() if k in names})


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
    # The op reads PNG as well; only it has a choice of the DCT method.
    image = tf.io.decode_jpeg(
        encoded, channels=3, dct_method=PIXEL_FACTS["dct_method"]
    )
    image.set_shape([None, None, 3])
    return image


def decode_any(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes one image file of any kind that TensorFlow reads faithfully.

    This is for graphs that get files as they are, where Pillow is not: JPEG,
    PNG, GIF (the first frame), WebP (one frame) and BMP of 24 bits. An EXIF
    rotation is not looked at.

    Args:
        encoded: Scalar string tensor, the bytes of a file.

    Returns:
        uint8 tensor of shape [height, width, 3], the same as `decode` gives
        of what `as_readable` returns.

    Raises:
        tf.errors.InvalidArgumentError: When it runs on something else.
    """
    head = tf.strings.substr(encoded, 0, 2)
    webp = tf.strings.substr(encoded, 0, 4) == b"RIFF"
    image = tf.case(
        [
            (webp, lambda: tf.io.decode_webp(encoded, channels=3)[0]),
            (head == b"BM", lambda: _decode_bmp(encoded)),
        ],
        default=lambda: decode(encoded),
    )
    return tf.ensure_shape(image, [None, None, 3])


def _decode_bmp(encoded: tf.Tensor) -> tf.Tensor:
    # TensorFlow takes the numbers of a palette for levels of grey.
    plain = tf.strings.substr(encoded, 28, 2) == b"\x18\x00"
    check = tf.debugging.Assert(plain, ["a BMP file of other than 24 bits"])
    with tf.control_dependencies([check]):
        return tf.io.decode_bmp(encoded, channels=3)


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
        # Integers: rounding to the nearest, the short side exactly.
        size = (sides * short + least // 2) // least
    # What tf.image.resize(image, size, "bilinear", antialias=True) comes to,
    # without the dozen small ops around it, a twentieth of all the time.
    resized = tf.raw_ops.ScaleAndTranslate(
        images=tf.expand_dims(image, 0),
        size=size,
        scale=tf.cast(size, tf.float32) / tf.cast(sides, tf.float32),
        translation=[0.0, 0.0],
        kernel_type="triangle",
        antialias=True,
    )
    # Whole levels, so that images can be kept as bytes and stay the same.
    # Means of levels with weights from 0 to 1: none is out of range.
    working = tf.cast(tf.round(tf.squeeze(resized, [0])), tf.uint8)
    side = short if squash else None
    working.set_shape([side, side, 3])
    return working


def _permuted(image: tf.Tensor, seed: int) -> tf.Tensor:
    side = PERMUTED_SIDE
    # NumPy keeps the numbers of this old generator the same for ever.
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
    """Makes a network's input of one image: the evaluation path.

    Args:
        image: uint8 tensor of shape [height, width, 3].
        image_size: Height and width of the network's images, in pixels.
        preprocessing: The task's choices; by default those of an image
            folder (short side to 8/7 of `image_size`, centre square).

    Returns:
        float32 tensor of shape [image_size, image_size, 3] with whole
        values from 0 to 255.

    Example:

    >>> pixels = images.decode(pathlib.Path("bird.jpg").read_bytes())
    >>> scores = net(images.evaluation_resize(pixels, 96)[None])
    """
    preprocessing = preprocessing or Preprocessing()
    image = working_image(image, image_size, preprocessing)
    return tf.cast(centre_square(image, image_size), tf.float32)


def read_for_evaluation(
    encoded: bytes,
    image_size: int,
    preprocessing: Preprocessing | None = None,
) -> tf.Tensor:
    """Makes a network's input of the bytes of an image file of any kind.

    Args:
        encoded: The bytes of a file of a kind that `readable` knows.
        image_size: Height and width of the network's images, in pixels.
        preprocessing: The task's choices.

    Returns:
        float32 tensor of shape [image_size, image_size, 3].

    Raises:
        DataError: If the bytes are no image, or a damaged one.
    """
    try:
        image = decode(as_readable(encoded))
    except tf.errors.OpError as error:
        raise DataError("The image is corrupt or truncated.") from error
    return evaluation_resize(image, image_size, preprocessing)
