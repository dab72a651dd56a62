"""Layers that several models inside a model share, written into its config.

Keras's config of such a model names the layer in each of them, and makes as
many layers of it when it is read. Here the first place keeps the layer, and
every other one gets a stand-in that has no weights; when all is read, the
layer takes the places of its stand-ins.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras.src.backend.common import global_state
from keras.src.saving import serialization_lib

from packnet_tf.convert.clone import new_inputs
from packnet_tf.layers.composite import class_names
from packnet_tf.tf_internals import is_graph, layers_of


@keras.saving.register_keras_serializable("packnet_tf")
class SharedPlace(keras.layers.Layer):
    """Stands where a layer is used that another model has too.

    It exists while a config is read.

    Args:
        number: The `shared_object_id` of the layer in the config.
        **kwargs: Those of every Keras layer.
    """

    def __init__(self, number: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.number = number
        # Not by `setattr`: Keras would track it as a part.
        self.__dict__["layer"] = serialization_lib.get_shared_object(number)
        self.built = True

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Computes what the layer does."""
        return self.__dict__["layer"](*args, **kwargs)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Returns what the layer gives."""
        return self.__dict__["layer"].compute_output_spec(*args, **kwargs)

    def compute_mask(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the mask that the layer hands on."""
        return self.__dict__["layer"].compute_mask(*args, **kwargs)


def write_shared(config: dict[str, Any], model: keras.Model) -> None:
    """Puts stand-ins into a model's config, in place.

    Args:
        config: What `serialize_keras_object` returned for the model.
        model: The model.
    """
    first: dict[int, dict[str, Any]] = {}
    numbers = 0
    for layer, entry in _entries(config, model):
        entry.pop("shared_object_id", None)
        if is_graph(layer) or not layer.variables:
            continue
        original = first.setdefault(id(layer), entry)
        if original is entry:
            continue
        if "shared_object_id" not in original:
            numbers += 1
            original["shared_object_id"] = numbers
        entry.pop("build_config", None)
        entry.update(
            class_names(SharedPlace),
            config={
                "name": layer.name,
                "number": original["shared_object_id"],
            },
        )


def read_shared(config: dict[str, Any], custom_objects: Any) -> keras.Model:
    """Makes the model of a config that `write_shared` has been at.

    Args:
        config: The config.
        custom_objects: As for Keras.
    """
    active = global_state.get_global_attribute("shared_objects/id_to_obj_map")
    scope: Any = serialization_lib.ObjectSharingScope()
    with scope if active is None else contextlib.nullcontext():
        model = keras.saving.deserialize_keras_object(
            config, custom_objects=custom_objects
        )
    if any(isinstance(part, SharedPlace) for part in layers_of(model)):
        return _joined(model)
    return model


def _entries(
    config: dict[str, Any], model: Any
) -> Iterator[tuple[keras.layers.Layer, dict[str, Any]]]:
    """Yields the layers of all graphs inside, as Keras will read them."""
    if not is_graph(model):
        return
    layers = {layer.name: layer for layer in model.layers}
    for entry in config["config"]["layers"]:
        layer = layers.get(entry["config"].get("name"))
        if layer is not None:
            yield layer, entry
            yield from _entries(entry, layer)


def _joined(model: keras.Model) -> keras.Model:
    """Returns the model with the layers themselves for their stand-ins."""
    made: dict[int, keras.Model] = {}

    def part_of(part):
        if isinstance(part, SharedPlace):
            return vars(part)["layer"]
        if not is_graph(part):
            return part
        if id(part) not in made:
            made[id(part)] = keras.models.clone_model(
                part, input_tensors=new_inputs(part), clone_function=part_of
            )
            made[id(part)]._trainable = part._trainable
        return made[id(part)]

    return part_of(model)
