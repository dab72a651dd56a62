"""The signatures of a SavedModel, and the variables behind them."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.errors import NetworkError
from packnet_tf.folding import FoldedKernel
from packnet_tf.model import PackNet
from packnet_tf.task import Task


class PackedArrays:
    """Small arrays in one variable, as one network has hundreds of them.

    Each variable of a SavedModel costs over a kilobyte of graph and a file
    access when it is loaded, which is more than most of these hold.

    Args:
        values: Arrays, or variables.
        name: Unique name of the variables.

    Attributes:
        variables: One variable for each dtype.
    """

    def __init__(self, values: Sequence[Any], name: str):
        arrays = [np.asarray(value) for value in values]
        self._shapes = [array.shape for array in arrays]
        self._places: dict[np.dtype, list[int]] = {}
        for place, array in enumerate(arrays):
            self._places.setdefault(array.dtype, []).append(place)
        self.variables = [
            tf.Variable(
                np.concatenate([arrays[place].ravel() for place in places]),
                trainable=False,
                name=f"{name}/{dtype.name}",
            )
            for dtype, places in self._places.items()
        ]

    def read(self) -> list[tf.Tensor]:
        """Returns the arrays, in the order given."""
        found: dict[int, tf.Tensor] = {}
        for variable, places in zip(
            self.variables, self._places.values(), strict=True
        ):
            shapes = [self._shapes[place] for place in places]
            parts = tf.split(
                variable.read_value(), [int(np.prod(s)) for s in shapes]
            )
            for place, shape, part in zip(places, shapes, parts, strict=True):
                found[place] = tf.reshape(part, shape)
        return [found[place] for place in range(len(self._shapes))]


class Program:
    """The variables of a SavedModel, each once, and its signatures.

    Args:
        net: The packed network. Its variables are read, not captured, so it
            may live in any strategy.
        digest: The state's digest.
    """

    def __init__(self, net: PackNet, digest: str):
        self._net = net
        self._name = f"packnet/{digest}"
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
        self._private: dict[bytes, PackedArrays] = {}
        self._constants = PackedArrays(
            net.constants, f"{self._name}/constants"
        )
        self._places = _tensors_of(net)
        self._tensors = PackedArrays(
            [layer.__dict__[name] for layer, name in self._places],
            f"{self._name}/tensors",
        )
        self._heads = [
            PackedArrays(head.weights, f"{self._name}/head_{owner}")
            for owner, head in enumerate(net.heads, start=1)
        ]

    def signatures(self, images: tf.TensorSpec) -> dict[str, Any]:
        """Returns the signatures, one per task and `serving_default`."""
        features = tf.function(self._features, autograph=False)
        tasks = self._net.tasks
        made = {t.name: self._signature(t, images, features) for t in tasks}
        headed = [t.name for t in tasks if t.classes]
        made["serving_default"] = made[(headed or [tasks[-1].name])[-1]]
        return made

    def module(self) -> tf.Module:
        """Returns what has to be saved with the signatures."""
        module = tf.Module(name="packnet")
        module.kernels = [k.kernel for k in self._kernels]
        module.owners = [k.codes.blob for k in self._kernels if k.codes]
        module.views = [view for k in self._kernels for view in k.views]
        packed = [*self._private.values(), *self._heads]
        packed += [self._constants, self._tensors]
        module.packed = [v for arrays in packed for v in arrays.variables]
        return module

    def _features(
        self,
        images: tf.Tensor,
        kernels: Sequence[tf.Tensor],
        private: Sequence[tf.Tensor],
        constants: Sequence[tf.Tensor],
        tensors: Sequence[tf.Tensor],
    ) -> tf.Tensor:
        """The backbone's program, one for all tasks: values are arguments."""
        net = self._net
        variables = [k.variable for k in net.masked_kernels()]
        given = [
            *zip(variables, kernels, strict=True),
            *zip(net.private_variables, private, strict=True),
            *zip(net.constants, constants, strict=True),
        ]
        with _instead(self._places, tensors), keras.StatelessScope(given):
            return net.features(images, training=False)

    def _signature(
        self,
        task: Task,
        images: tf.TensorSpec,
        features: tf.types.experimental.PolymorphicFunction,
    ) -> tf.types.experimental.ConcreteFunction:
        kernels = [kernel.of(task.owner) for kernel in self._kernels]
        private = self._private_of(task)
        head = self._net.heads[task.owner - 1]
        names = task.class_names or [str(n) for n in range(task.classes)]
        activation = keras.activations.get(task.activation)

        @tf.function(input_signature=[images], autograph=False)
        def serve(images):
            found = features(
                images,
                [kernel.read_value() for kernel in kernels],
                private.read(),
                self._constants.read(),
                self._tensors.read(),
            )
            if not task.classes:
                return {"features": found}
            values = self._heads[task.owner - 1].read()
            given = list(zip(head.weights, values, strict=True))
            with keras.StatelessScope(given):
                logits = head(found)
            batch = tf.shape(images)[0]
            return {
                "logits": logits,
                "scores": activation(logits),
                "classes": tf.tile(tf.constant([names]), [batch, 1]),
            }

        made = serve.get_concrete_function()
        self._refuse_captured(made, task)
        return made

    def _private_of(self, task: Task) -> PackedArrays:
        """Returns the task's private variables; equal ones are stored once."""
        values = [np.asarray(v) for v in self._net.private_values(task.name)]
        key = hashlib.sha256(b"".join(v.tobytes() for v in values)).digest()
        if key not in self._private:
            self._private[key] = PackedArrays(
                values, f"{self._name}/private_{task.owner}"
            )
        return self._private[key]

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


def _tensors_of(net: PackNet) -> list[tuple[keras.Layer, str]]:
    """Returns where layers keep tensors as plain attributes.

    `Normalization` keeps its statistics so. In a SavedModel they would
    become constants, which TensorFlow computes with in other ways than with
    values (a division becomes a product), to other bytes.
    """
    return [
        (layer, name)
        for layer in net.backbone._flatten_layers()
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
