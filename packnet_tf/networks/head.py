"""Splits off the head of an imported network, its last layer with a kernel."""

import keras
import numpy as np

from packnet_tf.errors import NetworkError
from packnet_tf.tf_internals.layers import inputs_of_uses, is_graph

_INSTEAD = "name another layer with --head_layer, or use --head_layer=none."
_IMAGES = 16
# Answers that differ by rounding may swap classes that are nearly equal.
_ALIKE, _ROUNDING = 0.9, 1e-3


def split(
    model: keras.Model, head_layer: str | None = None
) -> tuple[keras.KerasTensor, keras.layers.Dense | None]:
    """Splits a network into features and head.

    The head is the last layer with a kernel and what follows it; a 1 x 1
    convolution on 1 x 1 pixels becomes `Dense`. If the last layer is itself a
    model, that is split.

    Args:
        model: A functional or Sequential network with one output.
        head_layer: Name of the head's layer, `"none"` for none, or None to
            find it.

    Returns:
        The features, a tensor of `model` flattened to rank 2, and the head:
        linear, float32, built, with the layer's own weights; None if there
        is no head.

    Raises:
        NetworkError: If the layer is missing or cannot become a head.
    """
    if len(model.outputs) != 1:
        raise NetworkError(
            f"{model.name} has {len(model.outputs)} outputs; expected one."
        )
    if head_layer == "none":
        return _flat(model.outputs[0]), None
    layer = _find(model, head_layer)
    if layer is None:
        return _flat(model.outputs[0]), None
    features = _input_of(layer, model)
    if is_graph(layer):
        inner, head = split(layer)
        body = keras.Model(layer.inputs, inner, name=layer.name)
        return body(features), head
    kernel, bias = _weights_of(layer, model, features)
    features = _flat(features)
    if features.shape[-1] != kernel.shape[0]:
        raise NetworkError(
            f"Layer {layer.name!r} of {model.name} is applied to several "
            f"positions, so it cannot be a head; {_INSTEAD}"
        )
    if kernel.shape[1] < 2:
        raise NetworkError(
            f"Layer {layer.name!r} of {model.name} has only one output, but a "
            f"head needs two or more; {_INSTEAD}"
        )
    head = keras.layers.Dense(
        kernel.shape[1],
        use_bias=bias is not None,
        name="head",
        dtype="float32",
    )
    head.build((None, kernel.shape[0]))
    head.set_weights([kernel] if bias is None else [kernel, bias])
    return features, head


def agreement(
    model: keras.Model,
    backbone: keras.Model,
    head: keras.layers.Dense,
    preprocessed: keras.Model,
) -> dict[str, float]:
    """Measures how closely backbone and head reproduce a network's answers.

    Args:
        model: The original network.
        backbone: From pixels to features.
        head: The imported head.
        preprocessed: From pixels to what `model` takes.

    Returns:
        `top1`: the share of equal first answers on 16 random images, and
        `largest_difference` of the logits. If the network returns
        probabilities, their logarithms are compared, which are the logits up
        to a constant.

    Raises:
        NetworkError: If the network's outputs are not its head's.
    """
    pixels = _random_images(backbone.input_shape[1])
    ours = np.asarray(head(backbone(pixels, training=False)))
    theirs = np.asarray(model(preprocessed(pixels), training=False))
    if theirs.size != ours.size:
        raise NetworkError(
            f"{model.name} has outputs of shape {theirs.shape[1:]}, but its "
            f"last layer with a kernel has {head.units}; {_INSTEAD}"
        )
    theirs = theirs.reshape(ours.shape).astype("float32")
    if np.all(theirs >= 0) and np.allclose(theirs.sum(-1), 1.0, atol=0.01):
        tiny = np.finfo("float32").tiny
        ours = np.log(np.maximum(keras.ops.softmax(ours), tiny))
        theirs = np.log(np.maximum(theirs, tiny))
    top1 = float(np.mean(ours.argmax(-1) == theirs.argmax(-1)))
    difference = float(np.abs(ours - theirs).max())
    if top1 < _ALIKE and difference > _ROUNDING:
        raise NetworkError(
            f"{model.name} answers otherwise than its last layer with a kernel "
            f"(of {_IMAGES} random images {top1:.0%} get the same class), so "
            f"that layer is not its head; {_INSTEAD}"
        )
    return {
        "top1": top1,
        "largest_difference": difference,
    }


def _random_images(size: int) -> np.ndarray:
    """Returns coarse random patterns, which resemble photos more than noise."""
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (_IMAGES, 4, 4, 3)).astype("float32")
    repeats = -(-size // 4)
    fine = coarse.repeat(repeats, axis=1).repeat(repeats, axis=2)
    return fine[:, :size, :size]


def _find(model, head_layer):
    if head_layer is None:
        with_kernel = [x for x in model.layers if _has_kernel(x)]
        return with_kernel[-1] if with_kernel else None
    for layer in model.layers:
        if layer.name == head_layer:
            return layer
    last = ", ".join(layer.name for layer in model.layers[-5:])
    raise NetworkError(
        f"--head_layer={head_layer}: {model.name} has no such layer; its last "
        f"layers are {last}."
    )


def _has_kernel(layer) -> bool:
    if isinstance(layer, keras.layers.Normalization):
        return False  # Its statistics have rank 4 for images.
    return any(len(w.shape) > 1 for w in layer.weights)


def _input_of(layer, model):
    """Returns the layer's input in this model."""
    uses = inputs_of_uses(layer, model)
    if len(uses) != 1 or len(uses[0]) != 1:
        raise NetworkError(
            f"Layer {layer.name!r} of {model.name} is used more than once or "
            f"has several inputs, so it cannot be a head; {_INSTEAD}"
        )
    return uses[0][0]


def _weights_of(layer, model, features):
    """Returns kernel [features, classes] and bias [classes] or None."""
    if isinstance(layer, keras.layers.Dense):
        kernel = np.asarray(layer.kernel)
    elif (
        isinstance(layer, keras.layers.Conv2D)
        and tuple(layer.kernel.shape[:2]) == (1, 1)
        and tuple(features.shape[1:3]) == (1, 1)
        and layer.groups == 1
    ):
        kernel = np.asarray(layer.kernel)[0, 0]
    else:
        raise NetworkError(
            f"Layer {layer.name!r} of {model.name} ({type(layer).__name__}) "
            "cannot be a head; expected a Dense layer, or a 1 x 1 convolution "
            f"on 1 x 1 pixels; {_INSTEAD}"
        )
    return kernel, np.asarray(layer.bias) if layer.use_bias else None


def _flat(features):
    if len(features.shape) == 2:
        return features
    return keras.layers.Flatten(name="flattened")(features)
