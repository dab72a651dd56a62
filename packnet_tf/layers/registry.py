"""Maps stock classes to their masked twins, and changes a layer's class.

A twin is a subclass of its stock class, so a layer can become its twin, and
a stock layer again, in place.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import keras

_Class = TypeVar("_Class", bound=type[keras.layers.Layer])

# By exact class: a subclass of a stock layer may do anything with its kernel.
TWINS: dict[type[keras.layers.Layer], type[keras.layers.Layer]] = {}


def twin_of(stock: type[keras.layers.Layer]) -> Callable[[_Class], _Class]:
    """Returns a decorator for the masked twin of a stock layer.

    It adds the class to `TWINS` and registers it with Keras, so that files
    with it can be loaded.

    Args:
        stock: The stock class.
    """

    def enter(twin: _Class) -> _Class:
        TWINS[stock] = twin
        keras.saving.register_keras_serializable("packnet_tf")(twin)
        return twin

    return enter


def become(
    layer: keras.layers.Layer,
    twin: type[keras.layers.Layer],
    **settings: Any,
) -> None:
    """Turns a stock layer into its masked twin, in place.

    Args:
        layer: The layer, built or not.
        twin: Its twin's class.
        **settings: Arguments that the twin's `__init__` adds to those of the
            stock class.
    """
    stock: Any = layer
    stock.__class__ = twin
    # Keras wraps the stock class's method in the instance; the twin refuses.
    own = vars(layer)
    own["_stock_quantize"] = own.pop("quantize", None)
    stock.become_masked(**settings)


def become_stock(layer: Any, stock: type[keras.layers.Layer]) -> None:
    """Turns a masked twin into a layer of its stock class, in place.

    Args:
        layer: The twin, built or not. Kernels keep the weights of all tasks.
        stock: The class.
    """
    layer.become_stock(stock)
    layer.__class__ = stock
    quantize = vars(layer).pop("_stock_quantize", None)
    if quantize is not None:
        vars(layer)["quantize"] = quantize
