"""From a batch of encoded images to a batch of pixels, inside a SavedModel.

Decoding, resizing and cutting are the very functions that evaluation uses,
so that a served answer has the bytes of the evaluated one.
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

# What the caller sees of a file that is no image.
PROBLEM = "is no image that can be decoded"


# Images decoded at the same time: more than a serving machine has cores for.
_PARALLEL = 16


@functools.cache
def pixels_of(
    image_size: int, preprocessing: Preprocessing
) -> tf.types.experimental.PolymorphicFunction:
    """Returns the function from files to what a network takes.

    Tasks with the same preprocessing share one, so that a SavedModel has it
    once.

    Args:
        image_size: Height and width of the network's images, in pixels.
        preprocessing: The task's choices. Its `box` is ignored: only the
            caller knows which box of an image is meant, and cuts to it.

    Returns:
        A function of a string tensor of shape [batch], the bytes of image
        files of any size, to float32 of shape [batch, image_size,
        image_size, 3] with whole values from 0 to 255. It fails if a file is
        no image, and says which rows those are.
    """

    def one(encoded: tf.Tensor) -> tf.Tensor:
        image = decode_any(encoded)
        square = evaluation_resize(image, image_size, preprocessing)
        # Whole levels: bytes hold them at a quarter of the size.
        return tf.cast(square, tf.uint8)

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
    )
    def pixels(encoded):
        # A data set is what decodes on all cores, and what can leave out a
        # row that fails instead of failing as a whole, so that the row can
        # be named. Row 0 is an image that never fails: a data set without
        # elements would have nothing to give.
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
                        f" (counted from 0) {PROBLEM}; send JPEG, PNG, "
                        f"GIF, {'WebP ' if READS_WEBP else ''}or "
                        "24-bit BMP files.",
                    ]
                )
            ],
        )
        with tf.control_dependencies([check]):
            return tf.cast(squares[1:], tf.float32)

    return pixels
