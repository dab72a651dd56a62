"""A bound on the variables that a config from anywhere may ask for."""

import contextlib
import math
import threading
from collections.abc import Iterator

import keras
import tensorflow as tf

from packnet_tf.errors import StateError

_patched = threading.Lock()


@contextlib.contextmanager
def variable_budget(allowed: int, what: object) -> Iterator[None]:
    """Refuses variables of more bytes in all, before memory is taken.

    A config of a few bytes may name layers of any size. Keras has no place
    to look at a variable before its memory is filled, so that this stands in
    the way of its initializing for a while; of this thread alone.

    Args:
        allowed: How many bytes this thread's new variables may have in all.
        what: What asks for them, for the message.

    Raises:
        StateError: From the layer that would exceed it.
    """
    mine = threading.get_ident()
    left = allowed

    def bounded(variable, initializer):
        nonlocal left
        if threading.get_ident() == mine:
            width = tf.as_dtype(variable.dtype).size
            left -= math.prod(variable.shape) * width
            if left < 0:
                raise StateError(
                    f"{what} asks for variables of more than {allowed:,} "
                    f"bytes ({variable.path}: {tuple(variable.shape)}), "
                    "which are not in it; use a copy that nobody has changed."
                )
        make(variable, initializer)

    with _patched:
        make = keras.Variable._initialize_with_initializer
        keras.Variable._initialize_with_initializer = bounded
        try:
            yield
        finally:
            keras.Variable._initialize_with_initializer = make
