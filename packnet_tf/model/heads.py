"""Heads: what stands between the backbone's features and a task's outputs.

A task has one linear `Dense` layer on flat features, or a head of the user's
own: any Keras layer or small model, which gets the features as they are.
Heads are private to their task; no mask touches them and nothing is pruned.
"""

import json
from typing import Any

import keras

from packnet_tf.convert.clone import copy_state
from packnet_tf.errors import TaskError, first_line
from packnet_tf.task import Task
from packnet_tf.tf_internals.layers import is_graph, layers_of, operation_of

# The number of classes that is still to be read from a head.
OPEN = -1

# What a `Dense` may have beside weights.
_EXTRAS = (
    "kernel_regularizer",
    "bias_regularizer",
    "activity_regularizer",
    "kernel_constraint",
    "bias_constraint",
)


def features_of(backbone: keras.Model) -> Any:
    """Returns what a backbone gives, as symbolic tensors.

    Args:
        backbone: A built model.

    Returns:
        One `KerasTensor`, or the structure of them that a backbone with
        several outputs gives.

    Raises:
        TaskError: If it cannot be found out.
    """
    if isinstance(backbone, keras.Sequential) and is_graph(backbone):
        return only(backbone.outputs)
    if is_graph(backbone):
        return only(backbone.output)
    # Nothing says what types a subclassed model was built for; floats do
    # where shapes are asked.
    built = backbone.get_build_config() or {}
    try:
        shape = built["input_shape"]
        return only(backbone.compute_output_spec(_symbolic(shape)))
    except Exception as error:
        raise TaskError(
            f"The shape of the features of {backbone.name!r} "
            f"({type(backbone).__name__}) cannot be found out: "
            f"{first_line(error)} Build it by calling it on a batch, or define "
            "compute_output_shape()."
        ) from error


def only(features: Any) -> Any:
    """Returns the one tensor of a list of one; all else as it is."""
    if isinstance(features, (list, tuple)) and len(features) == 1:
        return features[0]
    return features


def flat(features: Any) -> Any:
    """Returns features flattened to rank 2.

    Raises:
        TaskError: If there are several tensors, or their size is open.
    """
    if not hasattr(features, "shape"):
        raise TaskError(
            "The backbone gives several outputs, which one Dense layer cannot "
            "take; give the task a head that does, with head=."
        )
    if len(features.shape) <= 2:
        return features
    return keras.ops.reshape(features, (-1, flat_size(features)))


def flat_size(features: Any) -> int:
    """Returns the number of features of one example, once flattened.

    Raises:
        TaskError: As `flat` does.
    """
    size = 1
    for length in getattr(features, "shape", (None, None))[1:]:
        if length is None:
            raise TaskError(
                f"Features of shape {_shape(features)} have no fixed number; "
                "end the backbone in a pooling layer, fix its input's shape, "
                "or give the task a head that takes them, with head=."
            )
        size *= int(length)
    return size


def make_head(
    task: Task, features: Any, given: Any = None, seed: int = 0
) -> keras.Layer:
    """Makes the head of a task; call it in the network's strategy scope.

    Args:
        task: The task. A head of the user's own is recorded in it, and so is
            the number of classes where it is `OPEN`. A task that has the
            record already, as one from a file, gets that very head.
        features: `features_of` the backbone.
        given: The user's head: a layer, built or not, of which a copy is
            made, with its weights if it is built. None for a new `Dense`.
        seed: For the weights of a new `Dense`.

    Raises:
        TaskError: If the head, the features and the classes do not fit.
    """
    if task.classes == 0 and given is None:
        return keras.layers.Identity(name=_name(task))
    if task.head is not None:
        head = keras.saving.deserialize_keras_object(task.head)
        _build(head, task, features)
        return head
    if given is not None and not isinstance(given, keras.Layer):
        raise TaskError(
            f"The head given for {task.name!r} is a {type(given).__name__}; "
            "expected a Keras layer or model."
        )
    if task.classes < (OPEN if given is not None else 1) or task.classes == 0:
        raise TaskError(
            f"Task {task.name!r} has a head, and classes="
            f"{None if task.classes == OPEN else task.classes}; expected 1 or "
            "more."
        )
    if given is None or _is_classifier(given, features):
        return _dense(task, features, given, seed)
    head = copy_head(given, task)
    task.head = _record(head, task)
    _build(head, task, features)
    own = last_activation(head)
    if own in ("softmax", "sigmoid") and task.activation != "linear":
        raise TaskError(
            f"The head given for {task.name!r} ends in {own}, and "
            f"{task.activation} would follow; let it end in linear outputs, "
            "or add the task with activation='linear'."
        )
    if given.built:
        _copy_weights(given, head, task)
    return head


def has_weights(given: Any) -> bool:
    """Whether a given head brings weights, so that it may be trained."""
    return bool(getattr(given, "built", False) and given.weights)


def last_activation(head: keras.Layer) -> str | None:
    """Returns the Keras name of what a head ends in, or None if unknown."""
    while is_graph(head):
        if not head.built or len(head.outputs) != 1:
            return None
        head = operation_of(head.outputs[0])
    if isinstance(head, keras.layers.Softmax):
        return "softmax"
    return getattr(getattr(head, "activation", None), "__name__", None)


def _name(task: Task) -> str:
    return f"head_{task.owner}"


def _is_classifier(given: keras.Layer, features: Any) -> bool:
    """Whether it is a linear `Dense` with weights for flat features.

    It has nothing else that a new `Dense` would lack.
    """
    return (
        type(given) is keras.layers.Dense
        and given.built
        and last_activation(given) == "linear"
        # More than kernel and bias are those of LoRA or of quantization.
        and given.use_bias
        and len(given.weights) == 2
        and given.trainable
        and not any(getattr(given, name) for name in _EXTRAS)
        and hasattr(features, "shape")
        and (
            len(features.shape) <= 2
            or None not in features.shape[1:]
            and given.kernel.shape[0] == flat_size(features)
        )
    )


def _dense(task, features, given, seed) -> keras.layers.Dense:
    if task.classes == OPEN:
        task.classes = int(given.kernel.shape[1])
    flat(features)
    head = keras.layers.Dense(
        task.classes,
        name=_name(task),
        dtype="float32",
        kernel_initializer=keras.initializers.GlorotUniform(seed),
    )
    head.build((None, flat_size(features)))
    if given is not None:
        kernel, bias = given.get_weights()
        if kernel.shape != tuple(head.kernel.shape):
            raise TaskError(
                f"The head given for {task.name!r} has a kernel of shape "
                f"{kernel.shape}; expected {tuple(head.kernel.shape)}."
            )
        head.kernel.assign(kernel)
        head.bias.assign(bias)
    return head


def copy_head(given: keras.Layer, task: Task) -> keras.Layer:
    """Returns a new layer of the same configuration, without weights.

    The user's own might serve two tasks, or be trained elsewhere.

    Args:
        given: A layer or model.
        task: The task whose head it is, for its name and the message.

    Raises:
        TaskError: If its configuration is not complete.
    """
    parts = [type(part) for part in layers_of(given)]
    custom = {
        cls.__name__: cls
        for cls in parts
        if not cls.__module__.startswith("keras.")
    }
    try:
        config = given.get_config()
        config["name"] = _name(task)
        with keras.saving.custom_object_scope(custom):
            return type(given).from_config(config)
    except Exception as error:
        raise TaskError(
            f"The head given for {task.name!r} ({type(given).__name__}) "
            f"cannot be made again from its get_config(): {first_line(error)}"
        ) from error


def _record(head: keras.Layer, task: Task) -> dict[str, Any]:
    """Returns what a file keeps of a head, as JSON gives it back."""
    try:
        record = keras.saving.serialize_keras_object(head)
        return json.loads(json.dumps(record))
    except Exception as error:
        raise TaskError(
            f"The head given for {task.name!r} cannot be written to a file: "
            f"{first_line(error)}"
        ) from error


def _build(head: keras.Layer, task: Task, features: Any) -> None:
    """Builds a head for the features, and checks what it gives."""
    inputs = keras.tree.map_structure(
        lambda x: keras.Input(batch_shape=x.shape, dtype=x.dtype), features
    )
    try:
        outputs = only(head(inputs))
    except Exception as error:
        raise TaskError(
            f"The head given for {task.name!r} does not take the backbone's "
            f"features of shape {_shape(features)}: {first_line(error)}"
        ) from error
    if not hasattr(outputs, "shape"):
        raise TaskError(
            f"The head given for {task.name!r} has several outputs; expected "
            "one tensor. Concatenate them, or add a task for each."
        )
    width = outputs.shape[-1] if len(outputs.shape) > 1 else None
    if task.classes == OPEN and width is not None:
        task.classes = int(width)
    if task.classes != width:
        raise TaskError(
            f"Task {task.name!r} has classes={task.classes}, but its head "
            f"gives outputs of shape {_shape(outputs)}; the last number has "
            "to be that of the classes."
        )


def _copy_weights(given: keras.Layer, head: keras.Layer, task: Task) -> None:
    ours, theirs = (
        [tuple(weight.shape) for weight in layer.weights]
        for layer in (head, given)
    )
    if ours != theirs:
        raise TaskError(
            f"The head given for {task.name!r} was built for other features: "
            f"its weights have the shapes {theirs}; expected {ours}."
        )
    copy_state(given, head)


def _symbolic(shape: Any) -> Any:
    """Returns inputs of the shapes that a subclassed model was built for."""
    if isinstance(shape, dict):
        return {key: _symbolic(part) for key, part in shape.items()}
    if any(isinstance(part, (dict, list, tuple)) for part in shape):
        return [_symbolic(part) for part in shape]
    return keras.KerasTensor((None, *shape[1:]))


def inputs_of(backbone: keras.Model, shape: Any) -> Any:
    """Returns symbolic inputs of a backbone, of other shapes than its own.

    Args:
        backbone: A built model.
        shape: The shapes, batch included, in the structure that it takes.
    """
    if not is_graph(backbone):
        return _symbolic(shape)
    many = len(backbone.inputs) > 1
    return _like(backbone.input if many else backbone.inputs[0], shape)


def _like(taken: Any, shape: Any) -> Any:
    if isinstance(taken, dict):
        return {key: _like(taken[key], shape[key]) for key in taken}
    if isinstance(taken, (list, tuple)):
        return [_like(*pair) for pair in zip(taken, shape, strict=True)]
    return keras.KerasTensor(shape, dtype=taken.dtype)


def _shape(features: Any) -> Any:
    return keras.tree.map_structure(lambda x: tuple(x.shape), features)
