"""Private names of Keras's layers and models."""

import collections
import contextlib
import functools
import itertools
from collections.abc import Container, Iterator
from typing import TYPE_CHECKING, Any

import keras
from keras.src.backend import get_keras_mask
from keras.src.backend import set_keras_mask as _set_keras_mask
from keras.src.models.functional import Functional

if TYPE_CHECKING:
    from keras.layers import Layer as _Layer
else:
    # The layer comes from the other base of a class that mixes this one in.
    _Layer = object


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

    `Model.layers` lists only the first level, and not what a layer that is
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
def forgetful_graphs(model: keras.Model) -> Iterator[None]:
    """Lets graphs drop every tensor after its last use.

    Keras keeps the outputs of all layers until the last one has run: for
    hundreds of images at once, several times the memory.

    Args:
        model: A model that runs eagerly, functional or with such models in it.
    """
    graphs = [getattr(m, "_functional", m) for m in layers_of(model)]
    graphs = [graph for graph in graphs if isinstance(graph, Functional)]
    for graph in graphs:
        run = functools.partial(_run_through_graph, graph)
        vars(graph)["_run_through_graph"] = run
    try:
        yield
    finally:
        for graph in graphs:
            vars(graph).pop("_run_through_graph", None)


def _run_through_graph(graph, inputs, operation_fn, call_fn=None):
    """Does what Keras's method does."""
    del call_fn  # It is for symbolic tensors.
    by_depth = graph._nodes_by_depth
    nodes = [
        node
        for depth in sorted(by_depth, reverse=True)
        for node in by_depth[depth]
        if node.operation and not node.is_input
    ]
    uses = collections.Counter(id(x) for n in nodes for x in n.input_tensors)
    uses.update(id(x) for x in graph.outputs)
    values = dict(
        zip(map(id, graph.inputs), keras.tree.flatten(inputs), strict=False)
    )
    for node in nodes:
        if any(id(x) not in values for x in node.input_tensors):
            continue
        args, kwargs = node.arguments.fill_in(values)
        for x in node.input_tensors:
            uses[id(x)] -= 1
            if not uses[id(x)]:
                del values[id(x)]
        outputs = operation_fn(node.operation)(*args, **kwargs)
        for x, y in zip(
            node.outputs, keras.tree.flatten(outputs), strict=False
        ):
            if uses[id(x)]:
                values[id(x)] = y
        del args, kwargs, outputs
    return keras.tree.pack_sequence_as(
        graph._outputs_struct, [values[id(x)] for x in graph.outputs]
    )


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

    Only the constructor has an argument for it, and None leaves it to Keras.
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


def keras_mask(tensor: Any) -> Any:
    """Returns the mask of a tensor or None, as a layer after it would see."""
    return get_keras_mask(tensor)


def set_keras_mask(tensor: Any, mask: Any) -> None:
    """Gives a tensor a mask; public calls pass on only those of layers."""
    _set_keras_mask(tensor, mask)
