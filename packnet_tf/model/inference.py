"""Inference does not write to weights: asking a task must not change it."""

from typing import Any

import keras
import tensorflow as tf

from packnet_tf.errors import ConversionError
from packnet_tf.tf_internals.layers import layers_of, own_variables
from packnet_tf.tf_internals.training import traced_graph


def call(net: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls a network as a layer, and looks at what is traced.

    A program that runs many times is looked at once, when it is made.

    Raises:
        ConversionError: If a layer writes to a weight in inference.
    """
    graph = None
    if kwargs.get("training") is False and not tf.executing_eagerly():
        graph = traced_graph()
        known = len(graph.get_operations())
    outputs = keras.Model.__call__(net, *args, **kwargs)
    if graph is not None:
        _refuse_writes(net, graph, graph.get_operations()[known:])
    return outputs


def refuse_counters(net: Any, inputs: Any) -> None:
    """Looks at inference before a task is trained for long.

    Stock layers write nothing then, so only networks with others that have
    weights of their own to write are traced.

    Args:
        net: The network.
        inputs: A batch for it.

    Raises:
        ConversionError: If a layer writes to a weight in inference.
    """
    if not any(map(_may_count, layers_of(net))):
        return
    specs = tf.nest.map_structure(_spec_of, inputs)
    with tf.init_scope():
        asked = tf.function(
            lambda batch: net(batch, training=False), autograph=False
        )
        try:
            asked.get_concrete_function(specs)
        except ConversionError:
            raise
        except Exception:  # Evaluation will say so, if there is one.
            return


def _spec_of(part: Any) -> tf.TypeSpec:
    if isinstance(part, tf.Tensor):
        return tf.TensorSpec([None, *part.shape[1:]], part.dtype)
    return tf.type_spec_from_value(part)


def _may_count(layer: keras.layers.Layer) -> bool:
    home = type(layer).__module__.partition(".")[0]
    return home not in ("keras", "packnet_tf") and any(
        not variable.trainable for variable in own_variables(layer)
    )


def _refuse_writes(
    net: Any, graph: tf.Graph, operations: list[tf.Operation]
) -> None:
    written = {
        id(operation.inputs[0])
        for operation in operations
        if operation.type.startswith("Assign") and operation.inputs
    }
    if not written:
        return
    outer = {
        id(given)
        for given, inner in getattr(graph, "captures", ())
        if id(inner) in written
    }
    for variable in net.weights:
        value = variable.value
        for copy in getattr(value, "values", [value]):
            if id(copy.handle) in outer:
                raise ConversionError(
                    f"A layer writes to its weight {variable.path} in "
                    "inference, so that asking a task would change it, which "
                    "once it is packed nothing may; let it write in training "
                    "alone (call(..., training)), or count outside the network."
                )
