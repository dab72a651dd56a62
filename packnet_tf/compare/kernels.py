"""Tells a plain network's kernels from its private variables.

They are those of a `PackNet` of the same network, so that all methods differ
only in what they do with the kernels.
"""

import keras

from packnet_tf.layers import TWINS
from packnet_tf.tf_internals.layers import layers_of


def kernel_layers(
    backbone: keras.Model,
) -> list[tuple[keras.layers.Layer, str]]:
    """Returns the layers with kernels, and the kernels' attributes.

    Args:
        backbone: A functional model of stock layers.

    Returns:
        Pairs of a layer, which may be inside another, and a name; depthwise
        kernels are not among them.
    """
    found = []
    for layer in layers_of(backbone):
        twin = TWINS.get(type(layer))
        depthwise = getattr(twin, "depthwise_kernels", ())
        for name in getattr(twin, "kernel_names", ()):
            if name not in depthwise and getattr(layer, name) is not None:
                found.append((layer, name))
    return found


def kernels_of(backbone: keras.Model) -> list[keras.Variable]:
    """Returns the kernels of a network, each once.

    Args:
        backbone: A functional model of stock layers.
    """
    return _unique(getattr(x, name) for x, name in kernel_layers(backbone))


def private_of(backbone: keras.Model) -> list[keras.Variable]:
    """Returns what each task has a copy of: biases, normalization, and so on.

    The adapted statistics of `Normalization` layers are preprocessing, and
    not among them.

    Args:
        backbone: A functional model of stock layers.
    """
    shared = {id(variable) for variable in kernels_of(backbone)}
    for layer in layers_of(backbone):
        if isinstance(layer, keras.layers.Normalization):
            shared |= {id(variable) for variable in layer.weights}
    return [v for v in _unique(backbone.weights) if id(v) not in shared]


def _unique(variables) -> list[keras.Variable]:
    return list({id(v): v for v in variables}.values())
