"""Private names of what files hold: configs, SavedModels, the machine."""

import contextlib
import io
import json
import os
import pathlib
import threading
import traceback
import types
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import keras
import ml_dtypes
import numpy as np
from keras.src.backend.common import global_state
from keras.src.saving import saving_lib, serialization_lib
from keras.src.saving.object_registration import GLOBAL_CUSTOM_NAMES
from keras.src.utils import file_utils, io_utils
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import config as tf_config
from tensorflow.python.framework import op_def_registry

_Function = TypeVar("_Function", bound=Callable)
_exchanged = threading.RLock()


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


class _Undated(zipfile.ZipFile):
    """An archive whose new members have a fixed date."""

    def open(self, name, mode="r", pwd=None, *, force_zip64=False):
        if mode == "w":
            # `ZipFile` dates what it is told by name alone to 1980.
            name, force_zip64 = getattr(name, "filename", name), True
        return super().open(name, mode, pwd, force_zip64=force_zip64)


@contextlib.contextmanager
def same_bytes(stored: Callable[[Any], np.ndarray]) -> Iterator[None]:
    """Lets Keras write equal models to `.keras` files of equal bytes.

    Keras dates its files, and has no hook for the values it writes.

    Args:
        stored: Converts each value that this thread's models store, a
            variable or an array, to the array in the file.
    """
    mine = threading.get_ident()

    class Store(saving_lib.H5IOStore):
        def __setitem__(self, key, value):
            if threading.get_ident() != mine:
                super().__setitem__(key, value)
                return
            # Keras would copy each value.
            if not self._h5_entry_initialized:
                self._create_h5_group(self._h5_entry_path)
            value = stored(value)
            made = self._h5_entry_group.create_dataset(key, data=value)
            if value.dtype == ml_dtypes.bfloat16:
                made.attrs["dtype"] = "bfloat16"

        def close(self):
            # Keras would copy the whole file in memory.
            archive, self.archive = self.archive, None
            self.h5_file.close()
            if archive and self.mode == "w":
                archive.writestr(str(self.path_or_io), self.io_file.getbuffer())
            super().close()

    def undated(model):
        config, metadata = described(model)
        facts = json.loads(metadata)
        del facts["date_saved"]
        return config, json.dumps(facts)

    described = saving_lib._serialize_model_as_json
    exchanged = {
        "H5IOStore": Store,
        "_serialize_model_as_json": undated,
        "zipfile": types.SimpleNamespace(
            **vars(zipfile) | {"ZipFile": _Undated}
        ),
    }
    with _exchanged:
        kept = {name: getattr(saving_lib, name) for name in exchanged}
        vars(saving_lib).update(exchanged)
        try:
            yield
        finally:
            vars(saving_lib).update(kept)


def stored_array(store: Any, key: str) -> np.ndarray:
    """Returns a value that Keras has read from a file, which it would copy.

    Args:
        store: What `load_own_variables` is called with.
        key: The value's key.

    Returns:
        The array; read-only, if it is a part of the file in memory.
    """
    file = getattr(store, "path_or_io", None)
    if isinstance(store, saving_lib.H5IOStore) and isinstance(file, io.BytesIO):
        data = saving_lib.safe_get_h5_dataset(store._h5_entry_group, key)
        dtype, start = data.dtype, data.id.get_offset()
        if data.attrs.get("dtype") == "bfloat16" and dtype.itemsize == 2:
            dtype = np.dtype(ml_dtypes.bfloat16)
        elif dtype.kind not in "fiu":
            start = None
        if start is not None:
            # Python hands out the whole without a copy.
            content = file.getvalue()
            return np.frombuffer(content, dtype, data.size, start).reshape(
                data.shape
            )
    return store[key]


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
