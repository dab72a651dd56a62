"""The probe of a packed state, asked again: of its network, its SavedModel."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from packnet_tf.errors import StateError, first_line
from packnet_tf.model.packnet import PackNet
from packnet_tf.storage import environment, golden
from packnet_tf.storage.foreign import check_programs
from packnet_tf.storage.workdir import StateInfo
from packnet_tf.tf_internals import outside_strategy


@dataclasses.dataclass(frozen=True)
class Answered:
    """How one task answered its state's probe.

    Attributes:
        task: Its name.
        same: Whether the logits are the bytes that were kept.
        largest: The largest difference of a logit; 0.0 if they are the same.
        expected: Whether the same bytes were to be expected: from the same
            program, on a machine with the same facts.
        other: What differs, e.g. `("cpus",)`.
    """

    task: str
    same: bool
    largest: float
    expected: bool
    other: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.same or not self.expected

    def __str__(self) -> str:
        if self.same:
            return "probe, same bytes"
        text = f"probe, largest difference of the logits {self.largest:.3g}"
        if self.other:
            text += f" (another machine: {', '.join(self.other)})"
        elif not self.expected:
            text += " (another program)"
        return text


def replay_network(state: StateInfo, net: PackNet) -> list[Answered]:
    """Asks a state's network for its probe again.

    Args:
        state: The state.
        net: Its network, as loaded.

    Returns:
        An answer for each task with a head; none if no images are kept.

    Raises:
        StateError: If the probe is damaged.
    """
    images, kept = golden.read_probe(state)
    if images is None:
        return []
    program = state.manifest.probe
    try:
        logits = outside_strategy(
            lambda: golden.probe_logits(net, images, program)
        )
    except Exception as error:
        # Keras raises whatever images of another kind lead to.
        raise StateError(
            f"{state.probe_path} cannot be asked: {first_line(error)}; "
            "restore it from a copy."
        ) from error
    return _compare(state, kept, logits, same_program=True)


def replay_saved_model(
    state: StateInfo, folder: pathlib.Path
) -> list[Answered]:
    """Asks a SavedModel for the probe of the state that it is of.

    Args:
        state: The state.
        folder: The SavedModel, whose files are what was written.

    Returns:
        An answer for each task with a head; none if no images are kept.

    Raises:
        StateError: If the SavedModel or the probe is damaged.
    """
    images, kept = golden.read_probe(state)
    if images is None:
        return []
    check_programs(folder)

    def ask() -> dict[str, np.ndarray]:
        served = tf.saved_model.load(str(folder))
        batch = tf.constant(images, tf.float32)
        return {
            name: served.signatures[name](images=batch)["logits"].numpy()
            for name in kept
        }

    try:
        logits = outside_strategy(ask)
    except Exception as error:
        # TensorFlow raises whatever the content leads to.
        raise StateError(
            f"{folder} cannot be asked: {first_line(error)}; remove it, and "
            "the next command that writes exports it again."
        ) from error
    same = state.manifest.probe == golden.OPEN
    return _compare(state, kept, logits, same_program=same)


def _compare(
    state: StateInfo,
    kept: Mapping[str, np.ndarray],
    logits: Mapping[str, np.ndarray],
    *,
    same_program: bool,
) -> list[Answered]:
    other = tuple(
        environment.differences(
            environment.machine_facts(), state.manifest.machine
        )
    )
    found = []
    for task, before in kept.items():
        now = logits.get(task)
        if now is None or (now.shape, now.dtype) != (
            before.shape,
            before.dtype,
        ):
            raise StateError(
                f"{state.probe_path} does not hold the logits of {task!r} in "
                "this state; restore it from a copy."
            )
        same = now.tobytes() == before.tobytes()
        largest = 0.0
        if not same:
            difference = now.astype(np.float64) - before.astype(np.float64)
            largest = float(np.abs(difference).max())
        found.append(
            Answered(task, same, largest, same_program and not other, other)
        )
    return found
