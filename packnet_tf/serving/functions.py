"""The programs of a SavedModel: what each task makes of a batch."""

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
    """What a SavedModel of a packed network answers with.

    Args:
        net: The packed network. Its variables are read, not captured, so it
            may live in any strategy.
        layout: One of `options.serving.LAYOUTS`.
    """

    def __init__(self, net: PackNet, layout: str):
        self._net = net
        self._arrays = Arrays(layout)
        kernels = [
            self._arrays.add_kernel(
                np.asarray(kernel.variable), np.asarray(kernel.mask)
            )
            for kernel in net.masked_kernels()
        ]
        self._places = _tensors_of(net.backbone)
        shared = [
            *map(self.add, net.constants),
            *self.add_tensors(self._places),
        ]
        self._read = {
            task.name: [
                *(kernel.of(task.owner) for kernel in kernels),
                *map(self.add, net.private_values(task.name)),
                *shared,
            ]
            for task in net.tasks
        }
        self._heads = [_Head(self, head) for head in net.heads]
        self._backbones: dict[Any, _Function] = {}

    def write(self, folder: pathlib.Path) -> None:
        """Writes the arrays; call it before `answers`.

        Args:
            folder: Where they lie until the SavedModel has its copies.
        """
        self._arrays.write(folder)

    def answers(self, inputs: Any) -> dict[str, _Function]:
        """Returns for each task the function that answers a batch.

        Its outputs are `logits`, `scores` and `classes`, or for a task
        without a head `features`.

        Args:
            inputs: What the backbone takes: a `tf.TensorSpec` with a name,
                or a structure of them.
        """
        return {t.name: self._answer(t, inputs) for t in self._net.tasks}

    def module(self) -> tf.Module:
        """Returns what has to be saved with the functions."""
        module = tf.Module(name="packnet")
        module.arrays = self._arrays.resources
        return module

    def add(self, value: Any) -> Array:
        """Returns a new array of the SavedModel."""
        return self._arrays.add(np.asarray(value))

    def add_tensors(self, places: Sequence["_Place"]) -> list[Array]:
        """Returns arrays with the tensors that layers keep."""
        return [self.add(layer.__dict__[name]) for layer, name in places]

    def read(self, arrays: Sequence[Array]) -> list[tf.Tensor]:
        """Returns their values; legal in a program."""
        return self._arrays.read(arrays)

    def _backbone(self, arrays: Sequence[Array]) -> _Function:
        """Returns the backbone's program, one for all tasks.

        What differs between the tasks is its second argument: the places of
        what it reads. With a view that is made on the fly it is another one
        than without.
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

        # Returns the features, and Keras's masks of them, which a head may
        # need.
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
            # As what the backbone waits for, not in what it reads: with
            # another node there, TensorFlow may sum in another order.
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

        self._refuse_captured(answer.get_concrete_function(), task)
        return answer

    def _refuse_captured(self, made, task: Task) -> None:
        """Refuses state that would be left out of the SavedModel."""
        own = {id(r.resource_handle) for r in self._arrays.resources}
        for tensor in made.captured_inputs:
            if tensor.dtype == tf.resource and id(tensor) not in own:
                raise NetworkError(
                    f"The forward pass of task {task.name!r} uses state that "
                    "is neither kernel nor private variable (a random layer "
                    "that is active in inference?); remove it to export."
                )


def _check(given: tf.Tensor) -> tf.Operation:
    """Refuses an input without rows, or of another shape than it has.

    A signature that is called eagerly takes any shape, and convolutions
    answer images of any size; of no image they make what the layers after
    them cannot use.
    """
    rows, shape = tf.shape(given)[0], given.shape[1:]
    name = given.op.name
    some = tf.debugging.Assert(rows > 0, [f"{name}: a batch without rows."])
    if not shape.is_fully_defined():
        return some
    # By its size: whatever is known of the shape when this is traced would
    # be computed then, and say what is expected.
    with tf.control_dependencies([some]):
        return tf.debugging.Assert(
            tf.equal(tf.size(given), rows * shape.num_elements()),
            [
                f"{name}: expected the shape [batch, "
                f"{', '.join(map(str, shape))}]."
            ],
        )


class _Head:
    """A task's head, whose weights are arrays of the SavedModel."""

    def __init__(self, program: Program, head: keras.Layer):
        self._program = program
        self._keras = head.weights
        self._places = _tensors_of(head)
        self._weights = [program.add(weight) for weight in head.weights]
        self._tensors = program.add_tensors(self._places)

    @contextlib.contextmanager
    def instead(self) -> Iterator[None]:
        """Lets the head compute with them."""
        read = self._program.read
        given = list(zip(self._keras, read(self._weights), strict=True))
        with (
            _instead(self._places, read(self._tensors)),
            keras.StatelessScope(given),
        ):
            yield


def _tensors_of(model: keras.Layer) -> list[_Place]:
    """Returns where layers keep tensors as plain attributes.

    `Normalization` keeps its statistics so. In a SavedModel they would
    become constants, which TensorFlow computes with in other ways than with
    values (a division becomes a product), to other bytes.
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
    """Puts tensors into attributes of layers while it is open."""
    before = [layer.__dict__[name] for layer, name in places]
    try:
        for (layer, name), value in zip(places, values, strict=True):
            layer.__dict__[name] = value
        yield
    finally:
        for (layer, name), value in zip(places, before, strict=True):
            layer.__dict__[name] = value
