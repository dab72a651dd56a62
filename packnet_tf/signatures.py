"""The signatures of a SavedModel, and the variables behind them."""

import contextlib
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend import get_keras_mask as keras_mask
from keras.src.backend import set_keras_mask

from packnet_tf.errors import NetworkError
from packnet_tf.folding import FoldedKernel
from packnet_tf.model import PackNet
from packnet_tf.task import Task

_Place = tuple[keras.Layer, str]


class Program:
    """The variables of a SavedModel, each once, and its signatures.

    Args:
        net: The packed network. Its variables are read, not captured, so it
            may live in any strategy.
        digest: The state's digest.
    """

    def __init__(self, net: PackNet, digest: str):
        self._net = net
        self._name = f"packnet/{digest[:16]}"
        self._numbers = itertools.count()
        newest = len(net.tasks)
        self._kernels = [
            FoldedKernel(
                np.asarray(kernel.variable),
                np.asarray(kernel.mask),
                newest,
                f"{self._name}/{index}",
            )
            for index, kernel in enumerate(net.masked_kernels())
        ]
        self._private: dict[tuple[int, bytes], tf.Variable] = {}
        self._constants = self.variables(net.constants)
        self._places = _tensors_of(net.backbone)
        self._tensors = self.variables_of(self._places)
        self._heads = [_Head(self, head) for head in net.heads]

    def signatures(self, inputs: Any) -> dict[str, Any]:
        """Returns the signatures, one per task and `serving_default`.

        Args:
            inputs: What the backbone takes: a `tf.TensorSpec` with a name,
                or a structure of them.
        """
        features = tf.function(self._features, autograph=False)
        tasks = self._net.tasks
        made = {t.name: self._signature(t, inputs, features) for t in tasks}
        headed = [t.name for t in tasks if t.classes]
        made["serving_default"] = made[(headed or [tasks[-1].name])[-1]]
        return made

    def module(self) -> tf.Module:
        """Returns what has to be saved with the signatures."""
        module = tf.Module(name="packnet")
        module.kernels = [k.kernel for k in self._kernels]
        module.owners = [k.codes.blob for k in self._kernels if k.codes]
        module.views = [view for k in self._kernels for view in k.views]
        module.private = list(self._private.values())
        module.constants = [*self._constants, *self._tensors]
        module.heads = [
            v for head in self._heads for v in (*head.weights, *head.tensors)
        ]
        return module

    def _features(
        self,
        inputs: Any,
        kernels: Sequence[tf.Tensor],
        private: Sequence[tf.Tensor],
        constants: Sequence[tf.Tensor],
        tensors: Sequence[tf.Tensor],
    ) -> tuple[Any, Any]:
        """The backbone's program, one for all tasks: values are arguments.

        Returns:
            The features, and Keras's masks of them, which a head may need.
        """
        net = self._net
        variables = [k.variable for k in net.masked_kernels()]
        given = [
            *zip(variables, kernels, strict=True),
            *zip(net.private_variables, private, strict=True),
            *zip(net.constants, constants, strict=True),
        ]
        with _instead(self._places, tensors), keras.StatelessScope(given):
            found = net.features(inputs, training=False)
        return found, keras.tree.map_structure(keras_mask, found)

    def _signature(
        self,
        task: Task,
        inputs: Any,
        features: tf.types.experimental.PolymorphicFunction,
    ) -> tf.types.experimental.ConcreteFunction:
        kernels = [kernel.of(task.owner) for kernel in self._kernels]
        private = self._private_of(task)
        head = self._heads[task.owner - 1]
        names = task.class_names or [str(n) for n in range(task.classes)]
        activation = keras.activations.get(task.activation)

        @tf.function(input_signature=tf.nest.flatten(inputs), autograph=False)
        def serve(*given):
            found, masks = features(
                tf.nest.pack_sequence_as(inputs, given),
                _read(kernels),
                _read(private),
                _read(self._constants),
                _read(self._tensors),
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

        made = serve.get_concrete_function()
        self._refuse_captured(made, task)
        return made

    def _private_of(self, task: Task) -> list[tf.Variable]:
        """Returns the task's private variables; equal ones are stored once.

        Each is a variable of its own, as in the network: TensorFlow orders
        sums by what it knows of the shapes, and of parts of a larger
        variable it knows less.
        """
        found = []
        for place, value in enumerate(self._net.private_values(task.name)):
            value = np.asarray(value)
            key = (place, hashlib.sha256(value.tobytes()).digest())
            if key not in self._private:
                (self._private[key],) = self.variables([value])
            found.append(self._private[key])
        return found

    def variables_of(self, places: Sequence["_Place"]) -> list[tf.Variable]:
        """Returns variables with the tensors that layers keep."""
        return self.variables(layer.__dict__[name] for layer, name in places)

    def variables(self, values: Iterable[Any]) -> list[tf.Variable]:
        """Returns new variables of the SavedModel."""
        # The names are unique, and with the state's digest in them: in a
        # session, variables of one name are one variable.
        return [
            tf.Variable(
                np.asarray(value),
                trainable=False,
                name=f"{self._name}/variable_{next(self._numbers)}",
            )
            for value in values
        ]

    def _refuse_captured(self, made, task: Task) -> None:
        """Refuses state that would be left out of the SavedModel."""
        module = self.module()
        own = {id(v.handle) for v in module.variables}
        own.update(id(view.resource_handle) for view in module.views)
        for tensor in made.captured_inputs:
            if tensor.dtype == tf.resource and id(tensor) not in own:
                raise NetworkError(
                    f"The forward pass of task {task.name!r} uses state that "
                    "is neither kernel nor private variable (a random layer "
                    "that is active in inference?); remove it to export."
                )


class _Head:
    """A task's head, whose weights are variables of the SavedModel."""

    def __init__(self, program: Program, head: keras.Layer):
        self._keras = head.weights
        self._places = _tensors_of(head)
        self.weights = program.variables(self._keras)
        self.tensors = program.variables_of(self._places)

    @contextlib.contextmanager
    def instead(self) -> Iterator[None]:
        """Lets the head compute with them."""
        given = list(zip(self._keras, _read(self.weights), strict=True))
        with (
            _instead(self._places, _read(self.tensors)),
            keras.StatelessScope(given),
        ):
            yield


def _read(sources: Sequence[Any]) -> list[tf.Tensor]:
    return [source.read_value() for source in sources]


def _tensors_of(model: keras.Layer) -> list[_Place]:
    """Returns where layers keep tensors as plain attributes.

    `Normalization` keeps its statistics so. In a SavedModel they would
    become constants, which TensorFlow computes with in other ways than with
    values (a division becomes a product), to other bytes.
    """
    return [
        (layer, name)
        for layer in model._flatten_layers()
        for name, value in vars(layer).items()
        if isinstance(value, tf.Tensor) and hasattr(value, "numpy")
    ]


@contextlib.contextmanager
def _instead(
    places: Sequence[tuple[keras.Layer, str]], values: Sequence[tf.Tensor]
) -> Iterator[None]:
    """Puts tensors into attributes of layers for a while."""
    before = [layer.__dict__[name] for layer, name in places]
    try:
        for (layer, name), value in zip(places, values, strict=True):
            layer.__dict__[name] = value
        yield
    finally:
        for (layer, name), value in zip(places, before, strict=True):
            layer.__dict__[name] = value
