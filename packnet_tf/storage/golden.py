"""The probe of a packed state: a few images and every task's logits on them.

Replaying it on the state's network or SavedModel shows that the tasks still
answer with the same bytes.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from packnet_tf.errors import StateError, first_line
from packnet_tf.model.packnet import PackNet
from packnet_tf.model.shared_program import SharedProgram
from packnet_tf.storage import checksums, environment
from packnet_tf.storage.default_strategy import outside_strategy
from packnet_tf.storage.workdir import StateInfo
from packnet_tf.untrusted.archives import check_array_archive, check_compressed
from packnet_tf.untrusted.programs import check_programs

# A program with an open batch size, as in the SavedModel.
OPEN = "open batch"
# The program that manifests of schema 1 imply.
FIXED = "fixed batch"


def probe_logits(
    net: PackNet, images: np.ndarray, program: str = OPEN
) -> dict[str, np.ndarray]:
    """Returns the logits of every task with a head on a few images.

    They are computed in one batch by a `tf.function`; the same call on the
    same machine returns the same bytes.

    Args:
        net: The network; which task is active does not matter.
        images: Float32 [n, height, width, 3], pixels 0 to 255.
        program: `OPEN`, with the logits of the SavedModel, or `FIXED`, a
            program for exactly this number of images.

    Returns:
        Logits, float32 [n, classes], by task name.
    """
    batch = tf.constant(images, tf.float32)
    spec = tf.TensorSpec.from_tensor(batch)
    if program == OPEN:
        spec = tf.TensorSpec([None, *batch.shape[1:]], batch.dtype)
    shared = SharedProgram(net, spec)
    return {
        task.name: shared.logits(task, batch).numpy()
        for task in net.tasks
        if task.classes
    }


def write_probe(
    net: PackNet, images: np.ndarray | None, file: pathlib.Path
) -> None:
    """Writes the images and their logits, or an empty file for None."""
    arrays: dict[str, Any] = {}
    if images is not None:
        arrays["images"] = np.asarray(images, np.float32)
        logits = probe_logits(net, arrays["images"])
        for task in net.tasks:
            if task.name in logits:
                arrays[f"logits_{task.owner}"] = logits[task.name]
    np.savez(file, **arrays)


def read_probe(
    state: StateInfo,
) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
    """Returns a state's probe images and their logits, by task name.

    Raises:
        StateError: If the file is damaged or of another state.
    """
    path = state.probe_path
    checksums.refuse_damaged(path, state.manifest.files[path.name])
    check_array_archive(path)
    if state.manifest.probe not in (OPEN, FIXED):
        raise StateError(
            f"{state.path} has a probe of {state.manifest.probe[:80]!r}, "
            f"expected {OPEN!r} or {FIXED!r}; restore it from a copy."
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images = arrays["images"] if "images" in arrays else None
            logits = {
                task.name: arrays[f"logits_{task.owner}"]
                for task in state.tasks
                if f"logits_{task.owner}" in arrays
            }
    except Exception as error:
        raise StateError(f"{path} is damaged: {first_line(error)}") from error
    expected = [task.name for task in state.tasks if task.classes]
    if images is not None and list(logits) != expected:
        raise StateError(
            f"{path} holds logits of {', '.join(logits) or 'none'},"
            f" expected {', '.join(expected)}; restore it from a copy."
        )
    return images, logits


@dataclasses.dataclass(frozen=True)
class Answered:
    """How one task answered its state's probe.

    Attributes:
        task: Its name.
        same: Whether the logits have the recorded bytes.
        largest: The largest difference of a logit; 0.0 if they are the same.
        expected: Whether the same bytes were expected, because the program
            and the facts of the machine are the same.
        other: The facts that differ, e.g. `("cpus",)`.
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
    """Replays a state's probe on its network.

    Args:
        state: The state.
        net: Its network, as loaded.

    Returns:
        An answer for each task with a head; none if there are no images.

    Raises:
        StateError: If the probe is damaged.
    """
    images, kept = read_probe(state)
    if images is None:
        return []
    program = state.manifest.probe
    try:
        logits = outside_strategy(lambda: probe_logits(net, images, program))
    except Exception as error:
        # Unsuitable images can make Keras raise anything.
        raise StateError(
            f"{state.probe_path} cannot be asked: {first_line(error)}; "
            "restore it from a copy."
        ) from error
    return _compare(state, kept, logits, same_program=True)


def replay_saved_model(
    state: StateInfo, folder: pathlib.Path
) -> list[Answered]:
    """Replays a state's probe on its SavedModel.

    Args:
        state: The state.
        folder: The SavedModel, whose files match their digests.

    Returns:
        An answer for each task with a head; none if there are no images.

    Raises:
        StateError: If the SavedModel or the probe is damaged.
    """
    images, kept = read_probe(state)
    if images is None:
        return []
    check_programs(folder)
    limit = state.network_path.stat().st_size
    for file in sorted((folder / "assets").iterdir()):
        if file.suffix in (".owners", ".top"):
            check_compressed(file, limit)

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
        # Damaged content can make TensorFlow raise anything.
        raise StateError(
            f"{folder} cannot be asked: {first_line(error)}; remove it, and "
            "the next command that writes exports it again."
        ) from error
    same = state.manifest.probe == OPEN
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
