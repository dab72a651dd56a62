"""A check inside programs: is what they were traced for still so?"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from packnet_tf.tf_internals.training import hand_on_mask


class Moment:
    """A number that changes with the active task and when it is packed.

    Args:
        strategy: The network's strategy.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._now = 0
        with strategy.scope():
            self._variable = tf.Variable(0, trainable=False, dtype=tf.int64)

    @property
    def now(self) -> int:
        """The number of what is active."""
        return self._now

    @now.setter
    def now(self, number: int) -> None:
        if number != self._now:
            self._now = number
            self._variable.assign(number)

    def check(self, task: str) -> Callable[[Any], Any]:
        """Returns a function of outputs that fails at another moment.

        XLA drops assertions, so the outputs are NaN then as well.

        Args:
            task: Name of the task, for the message.
        """
        same = tf.equal(self._variable, self._now)
        failed = tf.debugging.Assert(
            same,
            [
                f"This program was traced while task {task!r} was in "
                "training; it is packed by now, or another task is active. "
                "Trace it again, or use net.as_model(name) for a packed task."
            ],
        )

        def checked(output):
            if not tf.as_dtype(output.dtype).is_floating:
                return tf.identity(output)
            nan = tf.constant(float("nan"), output.dtype)
            result = tf.where(same, output, nan)
            hand_on_mask(output, result)
            return result

        def check(outputs):
            with tf.control_dependencies([failed]):
                return keras.tree.map_structure(checked, outputs)

        return check
