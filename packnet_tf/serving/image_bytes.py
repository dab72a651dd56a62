"""Decodes and resizes encoded images inside a SavedModel.

It uses the functions of evaluation, so that served and evaluated answers
have the same bytes.
"""

import functools

import tensorflow as tf

from packnet_tf.data.images.pixel_path import (
    READS_WEBP,
    blank_png,
    decode_any,
    evaluation_resize,
)
from packnet_tf.data.images.preprocessing import Preprocessing

_WEBP = ", WebP (no animated WebP)" if READS_WEBP else ""
# Images decoded at once: more than a serving machine has cores.
_PARALLEL = 16


@functools.cache
def pixels_of(
    image_size: int, preprocessing: Preprocessing
) -> tf.types.experimental.PolymorphicFunction:
    """Returns the function that turns encoded images into network inputs.

    Tasks with the same preprocessing share one, so a SavedModel holds it
    once.

    Args:
        image_size: Height and width of the network's images, in pixels.
        preprocessing: The task's choices. Its `box` is ignored: callers crop
            images to the box themselves.

    Returns:
        A function that takes a string tensor of shape [batch], image files of
        any size, and returns float32 [batch, image_size, image_size, 3] with
        whole values from 0 to 255. If files are not images, it fails and
        names their rows.
    """

    def one(encoded: tf.Tensor) -> tf.Tensor:
        image = decode_any(encoded)
        square = evaluation_resize(image, image_size, preprocessing)
        # The levels are whole, so bytes hold them in a quarter of the memory.
        return tf.cast(square, tf.uint8)

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
    )
    def pixels(encoded):
        # A dataset decodes on all cores and can skip rows that fail, so that
        # they can be named. The blank image in front never fails: a dataset
        # without elements has no single element to return.
        count = tf.size(encoded, out_type=tf.int64)
        rows, squares = (
            tf.data.Dataset.from_tensor_slices(
                tf.concat([[blank_png()], encoded], 0)
            )
            .enumerate(-1)
            .map(
                lambda row, content: (row, one(content)),
                num_parallel_calls=_PARALLEL,
            )
            .ignore_errors()
            .batch(count + 1)
            .get_single_element()
        )
        bad = tf.sets.difference(
            tf.range(count)[tf.newaxis], rows[tf.newaxis, 1:]
        ).values
        check = tf.debugging.Assert(
            tf.equal(tf.size(bad), 0),
            [
                tf.strings.join(
                    [
                        "image_bytes: row ",
                        tf.strings.reduce_join(
                            tf.strings.as_string(bad), separator=", "
                        ),
                        " (counted from 0) cannot be decoded as an image; "
                        f"send JPEG, PNG, GIF{_WEBP} or 24-bit BMP files.",
                    ]
                )
            ],
        )
        with tf.control_dependencies([check]):
            return tf.cast(squares[1:], tf.float32)

    return pixels
