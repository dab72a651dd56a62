"""Every use of a private name of Keras or TensorFlow, and why it is needed.

docs/architecture.md has the table of these names: what breaks without each,
and the public way that it waits for. `tests/test_tf_internals.py` fails loudly
when a library changes one of them, and holds that no other file uses any.
"""

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import keras
import tensorflow as tf
from keras.src.models.functional import Functional
from tensorflow.python.data.ops import multi_device_iterator_ops

_Result = TypeVar("_Result")

# Models and layers: what they are made of.


def layers_of(
    layer: keras.layers.Layer, include_self: bool = True
) -> list[keras.layers.Layer]:
    """Returns a layer and every layer below it, each once.

    `Model.layers` lists the first level alone, and not what a layer that is
    no model is made of.

    Args:
        layer: A layer or model.
        include_self: Whether the layer itself is the first of them.
    """
    return list(layer._flatten_layers(include_self=include_self))


def direct_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the layers that a layer is made of, one level down."""
    return list(layer._layers)


def own_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Returns the variables of a layer without those of layers inside it."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def is_graph(layer: Any) -> bool:
    """Whether Keras knows how the layers inside are connected.

    True for functional and Sequential models; not for subclasses of them
    with a `call` of their own.
    """
    return (
        isinstance(layer, Functional) and type(layer).call is Functional.call
    ) or (
        isinstance(layer, keras.Sequential)
        and type(layer).call is keras.Sequential.call
    )


def operation_of(tensor: keras.KerasTensor) -> Any:
    """Returns the layer or operation that a symbolic tensor comes out of."""
    return tensor._keras_history.operation


# Distribution strategies.


def outside_strategy(function: Callable[[], _Result]) -> _Result:
    """Calls a function under the default strategy, wherever the caller is.

    Inside a strategy's scope every new variable belongs to that strategy. A
    scope cannot be left, but it holds for one thread alone.

    Args:
        function: What to call.

    Returns:
        What it returns.
    """
    if not tf.distribute.has_strategy():
        return function()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


# tf.data: its autotuning, and the memory it makes TensorFlow give back.


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns the same data set without autotuning or graph rewriting.

    The autotuner of an iterator runs in a thread that sleeps for up to a
    minute between its rounds. Dropping the iterator wakes the thread before
    the flag is set that would end it (TensorFlow 2.21), so that often enough
    the program waits until the thread wakes by itself. Rewriting the graph
    finds nothing to fuse here, and takes as long as a small set's first batch.

    Args:
        dataset: One whose parallelism and buffers are numbers: those left to
            `tf.data.AUTOTUNE` keep the values they begin with.

    Example:

    >>> batches = without_autotune(dataset.batch(32).prefetch(2))
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.with_options(options)


@contextlib.contextmanager
def replicas_without_autotune() -> Iterator[None]:
    """Makes a strategy's iterators without autotuning, each replica's too.

    The iterator of a distributed data set has one more for each replica,
    whose options cannot be set from outside. So their maker is exchanged
    while the context is open.
    """
    stock = multi_device_iterator_ops._create_device_dataset

    def create(*args, **kwargs):
        return without_autotune(stock(*args, **kwargs))

    multi_device_iterator_ops._create_device_dataset = create
    try:
        yield
    finally:
        multi_device_iterator_ops._create_device_dataset = stock


# <malloc.h>; what the library arrives at by itself with tensors of 32 MB.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_THRESHOLD = 32 << 20


def keep_freed_memory() -> None:
    """Lets this process reuse the memory of tensors that were freed.

    The first `GeneratorDataset` of a process, which every distributed data
    set has, makes TensorFlow (2.21) tell the C library of Linux to return each
    freed block of more than 128 KB to the system, for good. Nearly every
    tensor of a training step then begins with fresh pages, which took half of
    the processor's time.

    It changes settings of the whole process, so a program calls it, not a
    library: the apps that train do, once the devices are set up. Systems and
    C libraries other than Linux's own are left alone.

    Example:

    >>> strategy = make_strategy()
    >>> keep_freed_memory()
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    # TensorFlow makes its own choice once: now, not after ours.
    with tf.device("CPU:0"):
        once = tf.data.Dataset.from_generator(
            lambda: iter([0]), output_signature=tf.TensorSpec([], tf.int32)
        )
        next(iter(once))
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
    mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_THRESHOLD)
