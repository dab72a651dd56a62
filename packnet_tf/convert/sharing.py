"""Layers shared by inner models: read from old files, and never written.

Loading a Keras file would create such a layer once for each model. Release
0.1 wrote stand-ins for all but the first, which can still be loaded.
"""

import warnings
from typing import Any

import keras

from packnet_tf.convert.clone import new_inputs
from packnet_tf.errors import ConversionError
from packnet_tf.tf_internals.files import shared_object, sharing_scope
from packnet_tf.tf_internals.layers import freeze_alone, is_graph, layers_of


def refuse_shared(model: keras.Model) -> None:
    """Refuses to write a model whose inner models share a layer.

    Args:
        model: The model.

    Raises:
        ConversionError: Naming the layer and two of the models.
    """
    problem = _shared_layer(model)
    if problem:
        raise ConversionError(f"{problem}.")


def warn_of_shared(model: keras.Model) -> None:
    """Warns of what `refuse_shared` would refuse, before any work is lost.

    Args:
        model: The model, new or read from a file of release 0.1.
    """
    problem = _shared_layer(model)
    if problem:
        warnings.warn(
            f"{problem}. Until then the network cannot be saved, only trained "
            "and asked; if it comes from a file of release 0.1, keep the file.",
            stacklevel=3,
        )


def _shared_layer(model: keras.Model) -> str:
    """Returns which layer two inner models share, and what to do; or ''."""
    homes: dict[int, keras.Model] = {}
    for home in filter(is_graph, layers_of(model)):
        for layer in home.layers:
            other = homes.setdefault(id(layer), home)
            if other is not home and layer.weights:
                return (
                    f"Layer {layer.name!r} is in model {other.name!r} and in "
                    f"model {home.name!r}, and a file would make two of it; "
                    "make one model of the layers of both, or give each a "
                    "layer of its own"
                )
    return ""


@keras.saving.register_keras_serializable("packnet_tf")
class SharedPlace(keras.layers.Layer):
    """Stands in for a layer that another model has too.

    It exists only while a file of release 0.1 is loaded.

    Args:
        number: The `shared_object_id` of the layer in the config.
        **kwargs: As for every Keras layer.
    """

    def __init__(self, number: int, **kwargs: Any):
        super().__init__(**kwargs)
        # `setattr` would make Keras track it as a part.
        self.__dict__["layer"] = shared_object(number)
        self.built = True

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer."""
        return self.__dict__["layer"](*args, **kwargs)


def read_shared(config: dict[str, Any], custom_objects: Any) -> keras.Model:
    """Creates the backbone of a config, with or without stand-ins.

    Args:
        config: The config.
        custom_objects: As for Keras.
    """
    with sharing_scope():
        model = keras.saving.deserialize_keras_object(
            config, custom_objects=custom_objects
        )
    if not any(isinstance(part, SharedPlace) for part in layers_of(model)):
        return model
    made: dict[int, Any] = {}

    def joined(part):
        if isinstance(part, SharedPlace):
            return vars(part)["layer"]
        if not is_graph(part):
            return part
        if id(part) not in made:
            made[id(part)] = keras.models.clone_model(
                part, input_tensors=new_inputs(part), clone_function=joined
            )
            freeze_alone(made[id(part)], not part.trainable)
        return made[id(part)]

    return joined(model)
