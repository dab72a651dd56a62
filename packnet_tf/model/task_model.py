"""One packed task of a network as a model that shares its weights."""

from typing import Any

import keras

from packnet_tf.errors import NetworkError, PhaseError, TaskError
from packnet_tf.model import heads
from packnet_tf.model.active import answering_for
from packnet_tf.tf_internals.layers import is_graph
from packnet_tf.tf_internals.variables import alias


def as_model(net: Any, name: str) -> keras.Model:
    """Returns a packed task as a Keras model that shares the kernels.

    Its outputs are the task's scores, with the bytes of `predict`, whichever
    task is active and whatever the network does. It can be called and asked
    from several threads, inside any `tf.function` or Keras model, and be
    exported; it is never trained, and computes as in inference. Making it
    copies nothing. It cannot be saved as a Keras file: `packnet_tf.extract`
    makes a model for that, with weights of its own.

    It goes on answering if tasks are added or renamed. Once its task is
    removed, calls raise a `TaskError`, and programs that were traced before
    give NaN.

    Args:
        name: A packed task.

    Raises:
        TaskError: If there is no task of that name.
        PhaseError: If the task is still in training.
        PromiseError: If its weights have not been loaded yet.

    Example:

    >>> birds = net.as_model("birds")
    >>> scores = birds.predict(images)
    """
    task = net.task(name)
    if not task.packed:
        raise PhaseError(
            f"as_model({name!r}): the task is in its {task.phase} phase; "
            "pack() it first."
        )
    net.book.check_loaded()
    layer = _OneTask(net, task)
    backbone = net.backbone
    if not is_graph(backbone):
        model = keras.Sequential([layer], name=name)
    else:
        taken = backbone.inputs
        if not isinstance(backbone, keras.Sequential):
            taken = backbone.input
        inputs = keras.tree.map_structure(_like, heads.only(taken))
        model = keras.Model(inputs, layer(inputs), name=name)
    model.jit_compile = False  # Keras turns it on where there is a GPU.
    return model


def _like(taken: keras.KerasTensor) -> keras.KerasTensor:
    return keras.Input(
        batch_shape=taken.shape,
        dtype=taken.dtype,
        sparse=taken.sparse,
        name=taken.name,
    )


class _OneTask(keras.layers.Layer):
    """The forward pass of one packed task."""

    def __init__(self, net: Any, task: Any):
        super().__init__(name="task", dtype=net.dtype_policy, autocast=False)
        book = net.book
        # Keras would count the network's layers as this one's, and train them.
        self.__dict__.update(net=net, book=book, task=task)
        bank = book.bank
        self._shared = [
            *(alias(k.variable) for k in book.kernels),
            *(alias(k.mask) for k in book.kernels),
            *map(alias, bank.variables, bank.storage(task.owner)),
            *map(alias, bank.constants),
            *map(alias, net.heads[task.owner - 1].weights),
        ]
        self.built = True

    def call(self, inputs):
        """Returns the task's scores."""
        if not any(task is self.task for task in self.book.records):
            raise TaskError(
                f"as_model({self.task.name!r}): the task has been removed "
                "from the network; make a model of another one."
            )
        switch = self.book.switch
        switch.fix_model()
        with switch.pin(answering_for(self.task, packed=True)):
            return self.net.call(inputs, training=False)

    def get_config(self):
        """Refused: a file of it would hold the weights of all tasks."""
        raise self._not_saved()

    def save_own_variables(self, store):
        """Refused, as `get_config`."""
        raise self._not_saved()

    def _not_saved(self) -> NetworkError:
        return NetworkError(
            f"as_model({self.task.name!r}) shares the network's weights and "
            "cannot be saved or copied; save packnet_tf.extract(net, "
            f"{self.task.name!r}) instead."
        )
