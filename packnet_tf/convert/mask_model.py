"""Converts a plain Keras model to its masked twin."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from packnet_tf.convert.checks import (
    refuse_subclassed,
    refuse_unmaskable,
    refuse_unmasked,
)
from packnet_tf.convert.clone import clone_model, counterparts
from packnet_tf.convert.coverage import unmasked_layers
from packnet_tf.convert.promote import promote
from packnet_tf.convert.selection import (
    Skip,
    as_list,
    chosen_layers,
    mark_plain,
    skipped_layers,
)
from packnet_tf.convert.sharing import warn_of_shared
from packnet_tf.errors import ConversionError
from packnet_tf.layers import TWINS, Masked
from packnet_tf.options.network import DEPTHWISE
from packnet_tf.tf_internals.layers import is_graph, layers_of

_DEPTHWISE_LAYERS = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


def mask_model(
    model: keras.Model,
    skip: Skip | Sequence[Skip] = (),
    depthwise: str = "masked",
) -> keras.Model:
    """Returns the masked twin of a plain Keras model.

    Every layer with a masked twin (`packnet_tf.layers.TWINS`) becomes one,
    also inside nested models and wrappers such as `TimeDistributed`; a layer
    that is used twice stays one layer. Weights are copied, and the twin's
    outputs have the same bytes as the model's. The twin is not compiled; its
    variables are made in the current distribution strategy.

    A model that is masked already, such as a subclassed model built from
    masked layers, is returned itself.

    Args:
        model: A built functional or Sequential model, or a model whose
            kernels are masked already.
        skip: Layers that stay as they are, with weights private to each task:
            names, classes, or functions of a layer. They also stay so in a
            `PackNet` of the twin.
        depthwise: `"private"` leaves depthwise kernels (also of separable
            convolutions) private to each task; `"masked"` masks them like
            others.

    Raises:
        ConversionError: Naming the layers, if kernels would stay unmasked
            without being skipped, or cannot be masked; or if an argument
            cannot be used.

    Example:

    >>> plain = keras.applications.MobileNet(weights=None, classes=10)
    >>> masked = mask_model(plain, depthwise="private")
    >>> print(coverage(masked))
    15 layers masked, 3,150,688 of 3,239,114 weights (97.3%); not masked: ...
    """
    if not isinstance(model, keras.Model):
        raise ConversionError(
            "mask_model() takes a keras.Model; received "
            f"{type(model).__name__}."
        )
    if not model.built:
        raise ConversionError(
            f"Model {model.name!r} is not built, so it has no weights yet; "
            "give it an Input, call build(), or call it on a batch first."
        )
    if depthwise not in DEPTHWISE:
        raise ConversionError(
            f"mask_model(depthwise={depthwise!r}): expected one of {DEPTHWISE}."
        )
    kept = chosen_layers(model, skip)
    depthwise_plain = _DEPTHWISE_LAYERS if depthwise == "private" else ()
    skipped = skipped_layers(model, [*as_list(skip), *depthwise_plain])
    refuse_unmaskable(model, skipped)

    parts = layers_of(model)
    plain = [
        part
        for part in parts
        if type(part) in TWINS and id(part) not in skipped
    ]
    if not is_graph(model):
        refuse_subclassed(model, plain)
    refuse_unmasked(unmasked_layers(model, skipped, will_mask=TWINS))
    masked = any(isinstance(part, Masked) for part in parts)
    if not is_graph(model) or (masked and not plain):
        if _made_here(model):
            mark_plain(kept)
            warn_of_shared(model)
            return model
        if not is_graph(model):
            raise ConversionError(
                f"Model {model.name!r} ({type(model).__name__}) was built "
                "outside the distribution strategy in use; build it inside "
                "strategy.scope()."
            )
    twin = clone_model(model)
    copies = counterparts(model, twin)
    mark_plain(copies[id(x)][1] for x in kept if id(x) in copies)
    skipped = skipped_layers(twin, depthwise_plain)
    promote(twin, skipped, depthwise)
    refuse_unmasked(unmasked_layers(twin, skipped))
    warn_of_shared(twin)
    return twin


def _made_here(model: keras.Model) -> bool:
    extended = tf.distribute.get_strategy().extended
    return all(
        extended.variable_created_in_scope(v.value) for v in model.weights
    )
