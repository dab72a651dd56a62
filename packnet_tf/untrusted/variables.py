"""Limits the memory that an untrusted config may ask for in variables."""

import contextlib
import math
import pathlib
import zipfile
from collections.abc import Iterator

import keras
import tensorflow as tf

from packnet_tf.errors import StateError
from packnet_tf.tf_internals.files import before_variables
from packnet_tf.untrusted.members import WEIGHTS


@contextlib.contextmanager
def variable_budget(allowed: int, what: object) -> Iterator[None]:
    """Refuses variables beyond a budget, before memory is allocated.

    A config of a few bytes may ask for layers of any size.

    Args:
        allowed: Total bytes that this thread's new variables may have.
        what: The source of the config, for the message.

    Raises:
        StateError: From the layer that would exceed the budget.
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


def weights_budget(
    file: pathlib.Path, times: float
) -> contextlib.AbstractContextManager:
    """Refuses variables that a `.keras` file does not hold.

    Args:
        file: The file, checked by `archives`.
        times: How many bytes in memory one byte of its weights may become.
    """
    with zipfile.ZipFile(file) as archive:
        size = archive.getinfo(WEIGHTS).file_size
    return variable_budget(int(times * size) + (1 << 20), file)
