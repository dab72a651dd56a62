"""Runs a function under the default strategy, even inside a scope."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import tensorflow as tf

_Result = TypeVar("_Result")


def outside_strategy(function: Callable[[], _Result]) -> _Result:
    """Calls a function under the default strategy, even inside a scope.

    Inside a strategy's scope every new variable belongs to that strategy. A
    scope cannot be left, but it covers only its own thread.

    Args:
        function: The function.

    Returns:
        What the function returns.
    """
    if not tf.distribute.has_strategy():
        return function()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()
