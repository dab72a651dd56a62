"""Every use of a private name of Keras or TensorFlow, and why it is needed.

docs/architecture.md has the table of these names: what breaks without each,
and the public way that it waits for. `tests/test_tf_internals.py` fails loudly
when a library changes one of them, and holds that no other file uses any.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable, Container, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import keras
import tensorflow as tf
from keras.src.backend import get_keras_mask
from keras.src.backend import set_keras_mask as _set_keras_mask
from keras.src.backend.common import global_state
from keras.src.models.functional import Functional
from keras.src.saving import serialization_lib
from keras.src.saving.object_registration import GLOBAL_CUSTOM_NAMES
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import config as tf_config

if TYPE_CHECKING:
    from keras.layers import Layer as _Layer
else:
    # The layer comes from the other base of a class that mixes this one in.
    _Layer = object

_Function = TypeVar("_Function", bound=Callable)

# Models and layers: what they are made of.


class AfterBuild(_Layer):
    """Mixin for a layer: `after_build` runs at the end of every build.

    Keras calls `_post_build` whichever way `build` is overridden, and before
    it locks the layer's state; there is no public hook for that moment.
    """

    def _post_build(self) -> None:
        super()._post_build()
        self.after_build()

    def after_build(self) -> None:
        """Called once the layer has its variables; override and call it."""


def layers_of(
    layer: keras.layers.Layer, include_self: bool = True
) -> list[keras.layers.Layer]:
    """Returns a layer and every layer below it, each once.

    `Model.layers` lists the first level alone, and not what a layer that is
    no model is made of.
    """
    return list(layer._flatten_layers(include_self=include_self))


def direct_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the layers that a layer is made of, one level down."""
    return list(layer._layers)


def own_variables(
    layer: keras.layers.Layer, trainable_only: bool = False
) -> list[keras.Variable]:
    """Returns a layer's variables; the public lists add those of its layers.

    With `trainable_only`, those that were made trainable, also while frozen.
    """
    if trainable_only:
        return list(layer._trainable_variables)
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def has_graph(layer: Any) -> bool:
    """Whether a layer is a functional or Sequential model, or of a subclass."""
    return isinstance(layer, (Functional, keras.Sequential))


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


def inputs_of_uses(
    layer: keras.layers.Layer, model: keras.Model
) -> list[list[keras.KerasTensor]]:
    """Returns what a layer takes each time that a model's graph uses it.

    `Layer.input` is that of the layer's first use, in whatever model.

    Args:
        layer: One of the model's layers.
        model: A functional or Sequential model.
    """
    graph = getattr(model, "_functional", model)
    nodes = itertools.chain(*graph._nodes_by_depth.values())
    return [list(n.input_tensors) for n in nodes if n.operation is layer]


@contextlib.contextmanager
def names_from_one() -> Iterator[None]:
    """Names layers as if none had been made before.

    Keras numbers the layers of a process, so that a network built a second
    time would have other names, and its files other bytes.
    """
    key = "object_name_uids"
    before = global_state.get_global_attribute(key)
    global_state.set_global_attribute(key, None)
    try:
        yield
    finally:
        global_state.set_global_attribute(key, before)


def freeze_alone(layer: keras.layers.Layer, frozen: bool) -> None:
    """Freezes one layer or not; the setter reaches the layers below too."""
    layer._trainable = not frozen
    for variable in layer._trainable_variables:
        variable.trainable = not frozen


@contextlib.contextmanager
def unlocked(layer: keras.layers.Layer) -> Iterator[None]:
    """Lets a layer that is built take another variable."""
    locked = layer._tracker.locked
    layer._tracker.unlock()
    try:
        yield
    finally:
        if locked:
            layer._lock_state()


@contextlib.contextmanager
def hidden_variables(
    layer: keras.layers.Layer, hidden: Container[int]
) -> Iterator[None]:
    """Hides variables, given by `id`, from stock saving, which counts them."""
    variables = layer._non_trainable_variables
    everything = list(variables)
    variables[:] = [v for v in everything if id(v) not in hidden]
    try:
        yield
    finally:
        variables[:] = everything


def drop_variable(layer: keras.layers.Layer, name: str) -> None:
    """Deletes a variable; `del` collects garbage after each, which is slow."""
    layer._untrack_variable(getattr(layer, name))
    super(keras.layers.Layer, layer).__delattr__(name)


def hidden_name(kernel: str) -> str:
    """Returns where `build` keeps a kernel: `Dense.kernel` is a property."""
    return f"_{kernel}"


def forbid_flash_attention(layer: keras.layers.Layer) -> bool:
    """Turns flash attention off in a layer that exists; was it asked for?

    It is an argument of the constructor alone, and None leaves it to Keras.
    """
    asked, layer._flash_attention = bool(layer._flash_attention), False
    return asked


def copy_lambda(layer: keras.layers.Lambda) -> keras.layers.Lambda:
    """Returns a Lambda layer with the same function.

    Its config holds byte code without the globals that the function uses.
    """
    return keras.layers.Lambda(
        layer.function,
        output_shape=layer._output_shape,
        mask=layer.mask,
        arguments=layer.arguments,
        name=layer.name,
        dtype=layer.dtype_policy,
        trainable=layer.trainable,
    )


# Configs and files: how they name classes.


def is_automatic(get_config: Any) -> bool:
    """Whether a `get_config` is Keras's own, made from `__init__`'s arguments.

    Keras records the arguments only for a layer whose class has that one.
    """
    return getattr(get_config, "_is_default", False)


def mark_automatic(get_config: _Function) -> _Function:
    """Makes Keras take a mixin's `get_config` for its automatic one."""
    get_config._is_default = True  # type: ignore[attr-defined]
    return get_config


def register_file_name(cls: type, as_: type) -> None:
    """Makes files name another class, which is registered, for this one.

    Registering both under that name would let it lead to the last one.
    """
    GLOBAL_CUSTOM_NAMES[cls] = keras.saving.get_registered_name(as_)


def class_names(cls: type) -> dict[str, Any]:
    """Returns how a Keras file names a class, as in a layer's entry.

    `serialize_keras_object` names classes as objects of another kind.
    """
    names = serialization_lib.serialize_with_public_class(cls, {})
    return {key: names[key] for key in names if key != "config"}


def shared_object(number: int) -> Any:
    """Returns the layer that an open `sharing_scope` has read by a number."""
    return serialization_lib.get_shared_object(number)


def sharing_scope() -> contextlib.AbstractContextManager:
    """Lets a config name one layer in several places, by a number.

    Keras opens such a scope around whole files alone, and they do not nest.
    """
    if (
        global_state.get_global_attribute("shared_objects/id_to_obj_map")
        is not None
    ):
        return contextlib.nullcontext()
    return serialization_lib.ObjectSharingScope()


# tf.data: its autotuning.


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


# Serving: masks that Keras attaches to tensors, and parts of resources.


def keras_mask(tensor: Any) -> Any:
    """Returns the mask of a tensor or None, as a layer after it would see."""
    return get_keras_mask(tensor)


def set_keras_mask(tensor: Any, mask: Any) -> None:
    """Gives a tensor a mask; public calls hand on those of layers alone."""
    _set_keras_mask(tensor, mask)


def track(owner: Any, part: Any, name: str) -> None:
    """Saves a part with a resource, which does not track its attributes."""
    owner._track_trackable(part, name)


# Files from strangers, and the machine.

_exchanged = threading.Lock()


@contextlib.contextmanager
def before_variables(
    check: Callable[[keras.Variable], None],
) -> Iterator[None]:
    """Calls `check` with each new variable before its memory is taken.

    Keras has no hook there, so its initializing is exchanged for a while: by
    one thread at a time, and for that thread's variables alone.
    """
    mine = threading.get_ident()

    def checked(variable, initializer):
        if threading.get_ident() == mine:
            check(variable)
        make(variable, initializer)

    with _exchanged:
        make = keras.Variable._initialize_with_initializer
        keras.Variable._initialize_with_initializer = checked
        try:
            yield
        finally:
            keras.Variable._initialize_with_initializer = make


def saved_model_of(content: bytes) -> Any:
    """Returns a `saved_model.pb` as a message; no public module has its class.

    Raises:
        google.protobuf.message.DecodeError: If it is damaged.
    """
    return saved_model_pb2.SavedModel.FromString(content)


def deterministic_ops() -> bool:
    """Whether op determinism is on, which can be set but not asked publicly."""
    return tf_config.is_op_determinism_enabled()
