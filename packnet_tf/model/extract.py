"""One task of a network as an ordinary Keras model."""

from typing import Any

import keras
import numpy as np

from packnet_tf.convert.clone import clone_model, copy_state
from packnet_tf.convert.promote import demote
from packnet_tf.errors import ConversionError
from packnet_tf.masks import ownership
from packnet_tf.model.heads import copy_head, only
from packnet_tf.tf_internals.layers import is_graph


def extract(net: Any, task: str) -> keras.Model:
    """Returns one task of a network as an ordinary Keras model.

    It consists of stock layers alone and can be saved, quantized, converted
    or trained on without this package. Its outputs are the task's scores,
    with the same bytes as the network's. (A layer of your own that is
    masked by `Masked` keeps its class, with everything visible.)

    Args:
        net: A `PackNet`.
        task: Name of any of its tasks; which one is active does not matter.

    Raises:
        ConversionError: If the backbone is a subclassed model.
        TaskError: If there is no such task.

    Example:

    >>> plain = extract(net, "birds")
    >>> plain.save("birds.keras")
    """
    record = net.task(task)
    backbone = net.backbone
    if not is_graph(backbone):
        raise ConversionError(
            f"extract() needs a functional or Sequential backbone; "
            f"{backbone.name!r} is the subclassed {type(backbone).__name__}. "
            "Export the task with export_saved_model() instead."
        )
    values = {
        id(kernel.variable): ownership.view(
            kernel.value,
            kernel.owners,
            record.owner,
            record.since,
        )
        for kernel in net.masked_kernels()
    }
    values.update(
        (id(variable), value)
        for variable, value in zip(
            net.private_variables, net.private_values(task), strict=True
        )
    )
    plain = clone_model(backbone, values)
    demote(plain)
    head = net.head_of(task)
    outputs = plain.outputs[0] if len(plain.outputs) == 1 else plain.output
    if record.head is None and len(outputs.shape) > 2:
        outputs = keras.layers.Reshape(
            (int(np.prod(outputs.shape[1:])),),
            dtype=outputs.dtype,
            name="features",
        )(outputs)
    if head is not None:
        plain_head = copy_head(head, record)
        outputs = only(plain_head(outputs))
        copy_state(head, plain_head)
        outputs = keras.layers.Activation(
            record.activation, dtype=outputs.dtype, name="scores"
        )(outputs)
    inputs = plain.inputs[0]
    if not isinstance(plain, keras.Sequential):
        inputs = plain.input  # In the structure that the backbone takes.
    return keras.Model(inputs, outputs, name=task)
