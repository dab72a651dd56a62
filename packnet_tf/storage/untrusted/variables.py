"""A bound on the variables that a config from anywhere may ask for."""

import contextlib
import math
from collections.abc import Iterator

import keras
import tensorflow as tf

from packnet_tf.errors import StateError
from packnet_tf.tf_internals.files import before_variables


@contextlib.contextmanager
def variable_budget(allowed: int, what: object) -> Iterator[None]:
    """Refuses variables of more bytes in all, before memory is taken.

    A config of a few bytes may name layers of any size.

    Args:
        allowed: How many bytes this thread's new variables may have in all.
        what: What asks for them, for the message.

    Raises:
        StateError: From the layer that would exceed it.
    """
    left = allowed

    def check(variable: keras.Variable) -> None:
        nonlocal left
        left -= math.prod(variable.shape) * tf.as_dtype(variable.dtype).size
        if left < 0:
            raise StateError(
                f"{what} asks for variables of more than {allowed:,} bytes "
                f"({variable.path}: {tuple(variable.shape)}), which are not "
                "in it; use a copy that nobody has changed."
            )

    with before_variables(check):
        yield
