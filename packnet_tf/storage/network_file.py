"""Writes, reads and checks the Keras file of a packed network."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from packnet_tf.errors import PromiseError, StateError, first_line
from packnet_tf.layers.memory import array_of
from packnet_tf.layers.state import values_follow
from packnet_tf.layers.switch import whole_kernels
from packnet_tf.masks import ownership
from packnet_tf.masks.compact import MOST_TIMES
from packnet_tf.masks.precision import narrowed
from packnet_tf.model.packnet import PackNet
from packnet_tf.tf_internals.files import same_bytes
from packnet_tf.tf_internals.layers import layers_of
from packnet_tf.untrusted.archives import check_network_archive
from packnet_tf.untrusted.variables import weights_budget


def write_network(net: PackNet, file: pathlib.Path) -> None:
    """Writes a network without its optimizer, the same bytes every time.

    Packed weights are not compared with their digests: read the file back.

    Args:
        net: The network, of any strategy, compiled or not.
        file: The file to write.

    Raises:
        PromiseError: If a layer of a packed task has changed.
        StateError: If it has layers that could not be loaded again.
    """
    _refuse_code(net)

    def stored(value: Any) -> np.ndarray:
        is_variable = isinstance(value, keras.Variable)
        array = array_of(value) if is_variable else np.asarray(value)
        return narrowed(array, net.packed_precision)

    with _uncompiled(net), net.as_newest(weights=False), same_bytes(stored):
        # `net.save` would write it beside its place and sync it for nothing.
        keras.Model.save(net, file)


def _refuse_code(net: PackNet) -> None:
    """Refuses a `Lambda` that holds code, which is never loaded."""
    with_code = [
        layer.name
        for layer in layers_of(net)
        if isinstance(layer, keras.layers.Lambda)
        and any(
            isinstance(part, dict) and part.get("class_name") == "__lambda__"
            for part in layer.get_config().values()
        )
    ]
    if with_code:
        raise StateError(
            f"The Lambda layer(s) {', '.join(with_code)} hold Python code, "
            "which is not read from a file again; give them a function with "
            "@keras.saving.register_keras_serializable(), or use keras.ops."
        )


@contextlib.contextmanager
def _uncompiled(net: PackNet) -> Iterator[None]:
    """Hides what `compile` added, which Keras would save too."""
    kinds = (keras.Optimizer, keras.Metric, keras.Loss)
    hidden = {k: v for k, v in vars(net).items() if isinstance(v, kinds)}
    hidden["compiled"] = net.compiled
    # Bypasses Keras's attribute tracking.
    net.__dict__.update(dict.fromkeys(hidden, None), compiled=False)
    try:
        yield
    finally:
        net.__dict__.update(hidden)


def read_network(file: pathlib.Path) -> PackNet:
    """Reads a network, uncompiled, without running code from the file.

    Raises:
        StateError: If the file is damaged or is not a `PackNet`.
    """
    check_network_archive(file)
    try:
        # Keras looks at all attributes, and each view would be computed.
        with weights_budget(file, MOST_TIMES), values_follow(), whole_kernels():
            net = keras.saving.load_model(
                str(file), compile=False, safe_mode=True
            )
    except StateError:
        raise
    except Exception as error:
        # Damaged content can make Keras raise anything.
        raise StateError(
            f"{file} cannot be read: {first_line(error)}"
        ) from error
    if not isinstance(net, PackNet):
        raise StateError(
            f"{file} holds a {type(net).__name__}; expected a PackNet."
        )
    return net


def check_network(
    net: PackNet, digests: Mapping[str, str | None], file: pathlib.Path
) -> None:
    """Refuses a network whose tasks have changed since they were packed.

    Args:
        net: The network, as read.
        digests: Its tasks' digests when they were packed, by name, in order.
        file: The network's file, for the message.

    Raises:
        StateError: If tasks, digests or masks are wrong.
    """
    found = net.digests()
    if list(found) != list(digests):
        raise StateError(
            f"{file} holds the tasks {', '.join(found)}; expected "
            f"{', '.join(digests)}."
        )
    changed = [name for name in digests if found[name] != digests[name]]
    if changed:
        raise StateError(
            f"{file} is damaged: task(s) {', '.join(changed)} are not what "
            "they were when they were packed."
        )
    problems = mask_problems(net)
    if problems:
        raise StateError(f"{file} is damaged: {problems[0]}.")
    try:
        net.verify_architecture()
    except PromiseError as error:
        raise StateError(f"{file} is damaged: {error}") from error


def mask_problems(net: PackNet) -> list[str]:
    """Checks the masks of a packed network against its weights and tasks.

    Returns:
        One line for each kernel with free weights that are not exactly 0, or
        with owners that are not tasks of the network.
    """
    problems = []
    for kernel in net.masked_kernels():
        mask, value = kernel.owners, kernel.value
        if _holds_free(value.reshape(-1), mask.reshape(-1)):
            problems.append(f"free weights of {kernel.path} are not 0")
        if mask.max(initial=ownership.FREE) > len(net.tasks):
            problems.append(
                f"{kernel.path} has weights of task {mask.max()}, but there "
                f"are {len(net.tasks)} tasks"
            )
    return problems


def _holds_free(value: np.ndarray, mask: np.ndarray) -> bool:
    """Whether a free weight of a flat kernel is anything but +0.0."""
    for block in ownership.blocks(value.size):
        not_zero = (value[block] != 0) | np.signbit(value[block])
        if np.any(not_zero & (mask[block] == ownership.FREE)):
            return True
    return False
