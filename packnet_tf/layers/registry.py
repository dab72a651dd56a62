"""Which masked class stands in for which stock class."""

from collections.abc import Callable
from typing import TypeVar

import keras

_Class = TypeVar("_Class", bound=type[keras.layers.Layer])

# By exact class: a subclass of a stock layer may do anything with its kernel.
TWINS: dict[type[keras.layers.Layer], type[keras.layers.Layer]] = {}


def twin_of(stock: type[keras.layers.Layer]) -> Callable[[_Class], _Class]:
    """Returns a decorator for the masked twin of a stock layer.

    It enters the class into `TWINS`, and registers it with Keras, so that
    files with it can be loaded.

    Args:
        stock: The class that it stands in for.
    """

    def enter(twin: _Class) -> _Class:
        TWINS[stock] = twin
        keras.saving.register_keras_serializable("packnet_tf")(twin)
        return twin

    return enter
