"""Private names of Keras's variables: one object with several values."""

import copy
from collections.abc import Callable
from typing import Any

import keras
from keras.src.backend.common import global_state


class SwitchedVariable(keras.Variable):
    """A Keras variable whose storage is chosen each time it is read.

    A layer holds one variable for all tasks, and a program has to capture the
    storage of its own task.
    """

    @property
    def _value(self) -> Any:
        return vars(self)["choose"]()

    def assign(self, value):
        """Assigns a value, except where a packed task's forward pass does."""
        if vars(self)["may_move"]():
            return super().assign(value)
        return value


def storage_of(variable: keras.Variable) -> Any:
    """Returns the TensorFlow variable behind a Keras variable, uncast."""
    return variable._value


def switch(
    variable: keras.Variable,
    choose: Callable[[], Any],
    may_move: Callable[[], bool],
) -> None:
    """Makes a variable read and write the storage that `choose` returns.

    Args:
        variable: The variable; its class changes in place.
        choose: Returns a TensorFlow variable, as of `storage_of`.
        may_move: Whether assignments have effect now.
    """
    own = vars(variable)
    own.pop("_value", None)
    own.update(choose=choose, may_move=may_move)
    variable.__class__ = SwitchedVariable


def new_storage(variable: keras.Variable, value: Any) -> Any:
    """Returns new storage for a variable; call it in the variable's scope."""
    like = storage_of(variable)
    made = keras.Variable(
        value,
        dtype=like.dtype.name,
        trainable=like.trainable,
        aggregation=variable.aggregation,
        synchronization=variable.synchronization,
        name=variable.name,
    )
    return storage_of(made)


def alias(variable: keras.Variable, storage: Any = None) -> keras.Variable:
    """Returns another variable, not trainable, with the same storage.

    Args:
        variable: The variable.
        storage: Its storage, by default what it reads now.
    """
    twin = copy.copy(variable)
    twin.__class__ = keras.Variable
    own = vars(twin)
    own.pop("choose", None)
    own.pop("may_move", None)
    own["_value"] = storage_of(variable) if storage is None else storage
    own["_trainable"] = False
    return twin


def entry_model() -> keras.Model | None:
    """Returns the model whose call is being computed, the outermost one."""
    context = global_state.get_global_attribute("current_call_ctx")
    entry = getattr(context, "entry_layer", None)
    return entry if isinstance(entry, keras.Model) else None
