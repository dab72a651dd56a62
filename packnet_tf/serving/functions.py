"""The functions of a SavedModel that compute each task's answers."""

import contextlib
import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.errors import NetworkError
from packnet_tf.model.packnet import PackNet
from packnet_tf.serving.weight_store import Array, Arrays
from packnet_tf.task import Task
from packnet_tf.tf_internals.layers import keras_mask, layers_of, set_keras_mask

_Place: TypeAlias = tuple[keras.Layer, str]
_Function: TypeAlias = tf.types.experimental.PolymorphicFunction


class Program:
    """Builds the functions of a packed network's SavedModel.

    Args:
        net: The packed network, of any strategy: its variables are copied,
            not captured.
        layout: One of `options.serving.LAYOUTS`.
    """

    def __init__(self, net: PackNet, layout: str):
        self._net = net
        self._arrays = Arrays(layout, net.packed_precision)
        kernels = [
            self._arrays.add_kernel(kernel.value, kernel.owners)
            for kernel in net.masked_kernels()
        ]
        self._places = _tensors_of(net.backbone)
        shared = [
            *map(self.add, net.constants),
            *self.add_tensors(self._places),
        ]
        self._read = {
            task.name: [
                *(kernel.of(task.owner, task.since) for kernel in kernels),
                *map(self.add, net.private_values(task.name)),
                *shared,
            ]
            for task in net.tasks
        }
        self._heads = [_Head(self, head) for head in net.heads]
        self._tables: dict[int, tf.saved_model.experimental.TrackableResource]
        self._tables = {}
        self._backbones: dict[Any, _Function] = {}

    def write(self, folder: pathlib.Path) -> None:
        """Writes the arrays; call it before `answers`.

        Args:
            folder: A folder for the files until the SavedModel is saved.
        """
        self._arrays.write(folder)

    def answers(self, inputs: Any) -> dict[str, _Function]:
        """Returns each task's function, by name.

        Its outputs are `logits`, `scores` and `classes`, or `features` for a
        task without a head.

        Args:
            inputs: What the backbone takes: a `tf.TensorSpec` with a name,
                or a structure of them.
        """
        return {t.name: self._answer(t, inputs) for t in self._net.tasks}

    def module(self) -> tf.Module:
        """Returns the resources to save with the functions.

        Call it after `answers`.
        """
        module = tf.Module(name="packnet")
        module.arrays = self._arrays.resources
        module.tables = list(self._tables.values())
        return module

    def add(self, value: Any) -> Array:
        """Adds an array to the SavedModel."""
        return self._arrays.add(np.asarray(value))

    def add_tensors(self, places: Sequence["_Place"]) -> list[Array]:
        """Adds the tensors that layers keep as attributes."""
        return [self.add(layer.__dict__[name]) for layer, name in places]

    def read(self, arrays: Sequence[Array]) -> list[tf.Tensor]:
        """Returns the arrays' values, inside a program."""
        return self._arrays.read(arrays)

    def _backbone(self, arrays: Sequence[Array]) -> _Function:
        """Returns the backbone's program, which the tasks share.

        Its second argument says where to read a task's arrays. Only tasks
        whose arrays differ in kind need programs of their own.
        """
        key = tuple(array.kind for array in arrays)
        if key in self._backbones:
            return self._backbones[key]
        net = self._net
        variables = [
            *(kernel.variable for kernel in net.masked_kernels()),
            *net.private_variables,
            *net.constants,
        ]

        # Returns the features and their Keras masks, which a head may need.
        @functools.partial(tf.function, autograph=False)
        def backbone(inputs, places):
            values = self._arrays.read(arrays, places)
            given = list(zip(variables, values, strict=False))
            tensors = values[len(variables) :]
            with _instead(self._places, tensors), keras.StatelessScope(given):
                found = net.features(inputs, training=False)
            return found, keras.tree.map_structure(keras_mask, found)

        self._backbones[key] = backbone
        return backbone

    def _answer(self, task: Task, inputs: Any) -> _Function:
        arrays = self._read[task.name]
        backbone = self._backbone(arrays)
        head = self._heads[task.owner - 1]
        names = task.class_names or [str(n) for n in range(task.classes)]
        activation = keras.activations.get(task.activation)

        @tf.function(input_signature=tf.nest.flatten(inputs), autograph=False)
        def answer(*given):
            # A control dependency, because another node between input and
            # backbone could change the order in which TensorFlow sums.
            with tf.control_dependencies([_check(part) for part in given]):
                found, masks = backbone(
                    tf.nest.pack_sequence_as(inputs, given),
                    tf.constant([array.place for array in arrays], tf.int32),
                )
            keras.tree.map_structure(set_keras_mask, found, masks)
            with head.instead():
                logits = self._net.head_outputs(task, found, training=False)
            if not task.classes:
                return {"features": logits}
            batch = tf.shape(given[0])[0]
            return {
                "logits": logits,
                "scores": activation(logits),
                "classes": tf.tile(tf.constant([names]), [batch, 1]),
            }

        self._keep_tables(answer.get_concrete_function(), task)
        return answer

    def _keep_tables(self, made, task: Task) -> None:
        """Keeps the lookup tables that a program reads, and refuses the rest.

        Raises:
            NetworkError: If it uses state that the SavedModel would lack.
        """
        own = {id(r.resource_handle) for r in self._arrays.resources}
        for tensor in made.captured_inputs:
            if tensor.dtype != tf.resource or id(tensor) in own:
                continue
            where, table = _owner_of(tensor, self._net)
            if table is not None:
                self._tables[id(tensor)] = table
                continue
            raise NetworkError(
                f"The forward pass of task {task.name!r} uses state{where} "
                "that is neither kernel nor private variable (a random layer "
                "that is active in inference?); remove it to export."
            )


def _owner_of(handle: tf.Tensor, net: PackNet) -> tuple[str, Any]:
    """Returns whose state a handle is: a layer, in words, and its table."""
    for layer in reversed(layers_of(net)):
        where = f" of layer {layer.name!r}"
        for value in vars(layer).values():
            if isinstance(value, tf.saved_model.experimental.TrackableResource):
                if value.resource_handle is handle:
                    return where, value
            elif isinstance(value, tf.Variable) and value.handle is handle:
                return where, None
        for variable in layer.variables:
            if getattr(variable.value, "handle", None) is handle:
                return where, None
    return "", None


def _check(given: tf.Tensor) -> tf.Operation:
    """Refuses an empty batch, or an input of the wrong shape.

    A signature that is called eagerly does not check shapes, and
    convolutions take images of any size.
    """
    rows, shape = tf.shape(given)[0], given.shape[1:]
    name = given.op.name
    some = tf.debugging.Assert(rows > 0, [f"{name}: a batch without rows."])
    if not shape.is_fully_defined():
        return some
    # Compares sizes: a comparison of shapes would be folded to the expected
    # one during tracing, where the shape is known.
    with tf.control_dependencies([some]):
        return tf.debugging.Assert(
            tf.equal(tf.size(given), rows * shape.num_elements()),
            [
                f"{name}: expected the shape [batch, "
                f"{', '.join(map(str, shape))}]."
            ],
        )


class _Head:
    """A task's head, with its weights as arrays of the SavedModel."""

    def __init__(self, program: Program, head: keras.Layer):
        self._program = program
        self._keras = head.weights
        self._places = _tensors_of(head)
        self._weights = [program.add(weight) for weight in head.weights]
        self._tensors = program.add_tensors(self._places)

    @contextlib.contextmanager
    def instead(self) -> Iterator[None]:
        """Makes the head compute with the SavedModel's arrays."""
        read = self._program.read
        given = list(zip(self._keras, read(self._weights), strict=True))
        with (
            _instead(self._places, read(self._tensors)),
            keras.StatelessScope(given),
        ):
            yield


def _tensors_of(model: keras.Layer) -> list[_Place]:
    """Returns where layers keep tensors as plain attributes.

    `Normalization` keeps its statistics this way. A SavedModel would turn
    them into constants, which TensorFlow optimizes (a division becomes a
    product), so that the bytes would differ.
    """
    return [
        (layer, name)
        for layer in layers_of(model)
        for name, value in vars(layer).items()
        if isinstance(value, tf.Tensor)
        and hasattr(value, "numpy")
        and value.dtype != tf.string
    ]


@contextlib.contextmanager
def _instead(
    places: Sequence[tuple[keras.Layer, str]], values: Sequence[tf.Tensor]
) -> Iterator[None]:
    """Replaces attributes of layers by tensors while it is open."""
    before = [layer.__dict__[name] for layer, name in places]
    try:
        for (layer, name), value in zip(places, values, strict=True):
            layer.__dict__[name] = value
        yield
    finally:
        for (layer, name), value in zip(places, before, strict=True):
            layer.__dict__[name] = value
