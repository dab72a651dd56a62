"""Private names of what files hold: configs, SavedModels, the machine."""

import contextlib
import os
import pathlib
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import keras
from keras.src.backend.common import global_state
from keras.src.saving import serialization_lib
from keras.src.saving.object_registration import GLOBAL_CUSTOM_NAMES
from keras.src.utils import file_utils, io_utils
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import config as tf_config
from tensorflow.python.framework import op_def_registry

_Function = TypeVar("_Function", bound=Callable)
_exchanged = threading.Lock()


@contextlib.contextmanager
def names_from_one() -> Iterator[None]:
    """Names layers as if none had been made before.

    Keras numbers the layers of a process, so that a network built a second
    time would have other names, and its files other bytes.
    """
    key = "object_name_uids"
    before = global_state.get_global_attribute(key)
    global_state.set_global_attribute(key, None)
    try:
        yield
    finally:
        global_state.set_global_attribute(key, before)


def is_automatic(get_config: Any) -> bool:
    """Whether a `get_config` is Keras's own, made from `__init__`'s arguments.

    Keras records the arguments only for a layer whose class has that one.
    """
    return getattr(get_config, "_is_default", False)


def mark_automatic(get_config: _Function) -> _Function:
    """Makes Keras take a mixin's `get_config` for its automatic one."""
    get_config._is_default = True  # type: ignore[attr-defined]
    return get_config


def register_file_name(cls: type, as_: type) -> None:
    """Makes files name another class, which is registered, for this one.

    Registering both under that name would let it lead to the last one.
    """
    GLOBAL_CUSTOM_NAMES[cls] = keras.saving.get_registered_name(as_)


def class_names(cls: type) -> dict[str, Any]:
    """Returns how a Keras file names a class, as in a layer's entry.

    `serialize_keras_object` names classes as objects of another kind.
    """
    names = serialization_lib.serialize_with_public_class(cls, {})
    return {key: names[key] for key in names if key != "config"}


def shared_object(number: int) -> Any:
    """Returns the layer that an open `sharing_scope` has read by a number."""
    return serialization_lib.get_shared_object(number)


def sharing_scope() -> contextlib.AbstractContextManager:
    """Lets a config name one layer in several places, by a number.

    Keras opens such a scope around whole files alone, and they do not nest.
    """
    if (
        global_state.get_global_attribute("shared_objects/id_to_obj_map")
        is not None
    ):
        return contextlib.nullcontext()
    return serialization_lib.ObjectSharingScope()


def writes_legacy_file() -> bool:
    """Whether Keras is writing a model to an HDF5 file, or reading one."""
    return bool(global_state.get_global_attribute("use_legacy_config"))


def drop_legacy_file() -> None:
    """Closes and removes the HDF5 file that Keras has begun to write.

    Keras opens it before it asks the model for anything, and says nowhere
    which one it is.
    """
    local = _locals_of("save_model_to_hdf5")
    file = local.get("f")
    if file and local.get("opened_new_file"):
        path = file.filename
        file.close()
        pathlib.Path(path).unlink(missing_ok=True)


def file_being_loaded() -> pathlib.Path | None:
    """Returns the `.keras` file that Keras is loading, if it is one on disk.

    Keras makes the model of a file before it unpacks the weights, and gives
    the model no other part in it.
    """
    name = getattr(
        _locals_of("_load_model_from_fileobj").get("fileobj"), "name", None
    )
    return pathlib.Path(name) if isinstance(name, str) else None


def is_remote_path(path: str | os.PathLike) -> bool:
    """Whether Keras writes to a path by other means than the local disk's."""
    return bool(file_utils.is_remote_path(path))


def may_overwrite(path: str | os.PathLike) -> bool:
    """Asks at the terminal, as Keras does, whether to overwrite a file."""
    return bool(io_utils.ask_to_proceed_with_overwrite(path))


def _locals_of(function: str) -> Mapping[str, Any]:
    """Returns the local variables of a function that has called this one."""
    for frame, _ in traceback.walk_stack(None):
        if frame.f_code.co_name == function:
            return frame.f_locals
    return {}


def track(owner: Any, part: Any, name: str) -> None:
    """Saves a part with a resource, which does not track its attributes."""
    owner._track_trackable(part, name)


@contextlib.contextmanager
def before_variables(
    check: Callable[[keras.Variable], None],
) -> Iterator[None]:
    """Calls `check` with each new variable before its memory is taken.

    Keras has no hook there, so its initializing is exchanged for a while: by
    one thread at a time, and for that thread's variables alone.
    """
    mine = threading.get_ident()

    def checked(variable, initializer):
        if threading.get_ident() == mine:
            check(variable)
        make(variable, initializer)

    with _exchanged:
        make = keras.Variable._initialize_with_initializer
        keras.Variable._initialize_with_initializer = checked
        try:
            yield
        finally:
            keras.Variable._initialize_with_initializer = make


def saved_model_of(content: bytes) -> Any:
    """Returns a `saved_model.pb` as a message; no public module has its class.

    Raises:
        google.protobuf.message.DecodeError: If it is damaged.
    """
    return saved_model_pb2.SavedModel.FromString(content)


def is_stateful(op: str) -> bool:
    """Whether TensorFlow knows an operation, and it does more than answer."""
    definition = op_def_registry.get(op)
    return definition is not None and definition.is_stateful


def deterministic_ops() -> bool:
    """Whether op determinism is on, which can be set but not asked publicly."""
    return tf_config.is_op_determinism_enabled()
