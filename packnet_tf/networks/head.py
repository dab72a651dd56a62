"""The head of an imported network: its last layer with a kernel."""

import keras
import numpy as np

from packnet_tf.errors import NetworkError


def split(
    model: keras.Model, head_layer: str | None
) -> tuple[keras.KerasTensor, keras.layers.Dense | None]:
    """Cuts a network into features and head.

    The head is the last layer with a kernel and what follows it; a 1 x 1
    convolution on 1 x 1 pixels is imported as `Dense`.

    Args:
        model: A functional or Sequential network with one output.
        head_layer: Name of the head's layer, `"none"` (all is backbone), or
            None to find it.

    Returns:
        The features (a tensor of `model`), flattened to rank 2, and the head
        (built, with the weights), or None.

    Raises:
        NetworkError: If the layer is missing or no head can be made of it.
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
    features = layer.input
    kernel, *bias = layer.get_weights()
    if kernel.ndim == 4:
        if kernel.shape[:2] != (1, 1) or set(features.shape[1:3]) != {1}:
            raise NetworkError(
                f"Layer {layer.name!r} of {model.name} is a convolution over "
                "an area, which cannot be a head; name another one with "
                "--head_layer, or use --head_layer=none."
            )
        kernel = kernel.reshape(kernel.shape[2:])
    if kernel.ndim != 2:
        raise NetworkError(
            f"Layer {layer.name!r} of {model.name} has a kernel of shape "
            f"{kernel.shape}, which cannot be a head; name another one with "
            "--head_layer, or use --head_layer=none."
        )
    features = _flat(features)
    if features.shape[-1] != kernel.shape[0]:
        raise NetworkError(
            f"Layer {layer.name!r} of {model.name} is applied at several "
            "places, so it cannot be a head; use --head_layer=none."
        )
    head = keras.layers.Dense(
        kernel.shape[1], use_bias=bool(bias), name="head", dtype="float32"
    )
    head.build((None, kernel.shape[0]))
    head.set_weights([kernel, *bias])
    return features, head


def agreement(
    model: keras.Model,
    backbone: keras.Model,
    head: keras.layers.Dense,
    preprocessed: keras.Model,
) -> dict[str, float]:
    """Measures how well backbone and head answer as the network did.

    Args:
        model: The network as it was.
        backbone: From pixels to features.
        head: The imported head.
        preprocessed: From pixels to what `model` takes.

    Returns:
        `top1`: share of equal first answers on 16 random images, and
        `largest_difference` of the scores.
    """
    rng = np.random.default_rng(0)
    shape = (16, *backbone.input_shape[1:])
    pixels = rng.uniform(0, 255, shape).astype("float32")
    logits = np.asarray(head(backbone(pixels, training=False)))
    scores = np.asarray(model(preprocessed(pixels), training=False))
    scores = scores.reshape(len(scores), -1)
    ours = np.asarray(keras.ops.softmax(logits))
    # A network may end in logits; then those are what is compared.
    if not np.allclose(scores.sum(-1), 1.0, atol=1e-3):
        ours = logits
    return {
        "top1": float(np.mean(ours.argmax(-1) == scores.argmax(-1))),
        "largest_difference": float(np.abs(ours - scores).max()),
    }


def _find(model, head_layer):
    if head_layer is not None:
        try:
            layer = model.get_layer(head_layer)
        except ValueError as error:
            last = ", ".join(layer.name for layer in model.layers[-5:])
            raise NetworkError(
                f"--head_layer={head_layer}: {model.name} has no such layer; "
                f"its last ones are {last}."
            ) from error
        if not layer.get_weights():
            raise NetworkError(
                f"--head_layer={head_layer}: the layer has no kernel; name "
                "one that has, or none."
            )
        return layer
    with_kernel = [
        layer
        for layer in model.layers
        if any(len(w.shape) > 1 for w in layer.weights)
    ]
    return with_kernel[-1] if with_kernel else None


def _flat(features):
    if len(features.shape) == 2:
        return features
    return keras.layers.Flatten(name="flattened")(features)
