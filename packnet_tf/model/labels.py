"""Labels of batches, which are known only as they run."""

from typing import Any

import keras
import tensorflow as tf

from packnet_tf.model import losses


def compute_loss(
    net: Any, x: Any = None, y: Any = None, *args: Any, **kwargs: Any
) -> Any:
    """Computes the loss as `keras.Model.compute_loss` does.

    Labels that stand for classes and are no whole numbers are refused: Keras
    would cut them off. Where their type is one of whole numbers, nothing is
    added to the program.

    Raises:
        tf.errors.InvalidArgumentError: As the program runs.
    """
    if (
        tf.is_tensor(y)
        and y.dtype.is_floating
        and losses.takes_numbers(net.loss)
    ):
        whole = tf.debugging.assert_equal(
            y,
            tf.round(y),
            f"Task {net.active_task.name}: a label is not the number of a "
            f"class; expected whole numbers from 0 to "
            f"{net.active_task.classes - 1}.",
        )
        # Eagerly there is no operation.
        with tf.control_dependencies([] if whole is None else [whole]):
            y = tf.identity(y)
    return keras.Model.compute_loss(net, x, y, *args, **kwargs)
