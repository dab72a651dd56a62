"""Programs that answer for any task of a network, told which one it is."""

import functools
from typing import Any

import keras
import tensorflow as tf

from packnet_tf.layers.kernel import choose
from packnet_tf.layers.switch import whole_kernels
from packnet_tf.masks import ownership
from packnet_tf.task import Task


class SharedProgram:
    """Computes logits of all tasks with the same program, traced once.

    A program of `PackNet.logits` belongs to one task: it captures the task's
    private variables and head. To ask every task, the network would be traced
    and optimized as often as there are tasks. Here the task's number and
    values are inputs, and only heads of the user's own, or for other numbers
    of classes, have programs of their own. The bytes are those of
    `PackNet.logits`.

    Args:
        net: The network.
        spec: What its programs take.
    """

    def __init__(self, net: Any, spec: tf.TensorSpec):
        self._net = net
        self._spec = spec
        self._programs: dict[Any, tf.types.experimental.ConcreteFunction] = {}

    def logits(self, task: Task, inputs: tf.Tensor) -> tf.Tensor:
        """Returns a task's logits in inference.

        Args:
            task: The task; it need not be active.
            inputs: A batch as `spec` says.
        """
        bank, head = self._net.book.bank, self._net.heads[task.owner - 1]
        given = (
            tf.constant([task.owner, task.since], tf.uint8),
            list(map(tf.convert_to_tensor, bank.storage(task.owner))),
            [tf.convert_to_tensor(weight.value) for weight in head.weights],
        )
        specs = tf.nest.map_structure(tf.TensorSpec.from_tensor, given)
        own = None if task.head is None else task.owner
        key = own, task.since > 2, head.dtype_policy.name, *specs[2]
        if key not in self._programs:
            # A concrete function, so that TensorFlow does not warn about
            # retracing for each head.
            self._programs[key] = tf.function(
                functools.partial(self._trace, task), autograph=False
            ).get_concrete_function(self._spec, *specs)
        return self._programs[key](inputs, *given)

    def _trace(self, like, inputs, numbers, private, head_values):
        """Returns the logits of a task with a head like that of `like`."""
        net = self._net
        owner, since = tf.unstack(numbers)
        if like.since == 2:
            since = 2
        variables = [
            *(kernel.variable for kernel in net.book.kernels),
            *net.book.bank.variables,
            *net.heads[like.owner - 1].weights,
        ]
        values = [
            *(_view(kernel, owner, since) for kernel in net.book.kernels),
            *private,
            *head_values,
        ]
        scope = keras.StatelessScope(zip(variables, values, strict=True))
        with whole_kernels(), scope:
            features = net.features(inputs, training=False)
            return net.head_outputs(like, features, training=False)


def _view(kernel, owner, since):
    value = tf.convert_to_tensor(kernel.variable.value)
    owners = tf.convert_to_tensor(kernel.mask.value)
    seen = ownership.visible(owners, owner, since)
    return choose(seen, value)
