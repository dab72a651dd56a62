"""A few real images with every task's logits, kept with a packed state.

Replayed later they show that a task still answers with the same bytes.
"""

import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from packnet_tf.errors import StateError
from packnet_tf.model.packnet import PackNet
from packnet_tf.storage.archives import check_array_archive
from packnet_tf.storage.workdir import StateInfo

# The program of the SavedModel: its batch size is open.
OPEN = "open batch"
# What the first schema of manifests stood for.
FIXED = "fixed batch"


def probe_logits(
    net: PackNet, images: np.ndarray, program: str = OPEN
) -> dict[str, np.ndarray]:
    """Returns the logits of every task with a head on a few images.

    They are computed in a `tf.function`, in one batch; the same call on
    the same machine gives the same bytes.

    Args:
        net: The network; what is active stays so.
        images: Float32 [n, height, width, 3], pixels 0 to 255.
        program: `OPEN`, whose logits are those of the SavedModel, or
            `FIXED`, a program for just as many images.

    Returns:
        Logits, float32 [n, classes], by task name.
    """
    batch = tf.constant(images, tf.float32)
    spec = tf.TensorSpec.from_tensor(batch)
    if program == OPEN:
        spec = tf.TensorSpec([None, *batch.shape[1:]], batch.dtype)
    active = net.active_task
    found = {}
    try:
        for task in net.tasks:
            if task.classes:
                net.activate(task.name)
                # A concrete function: a new program is wanted for each task,
                # and no warning about that.
                function = tf.function(
                    lambda x: net.logits(x, training=False), autograph=False
                ).get_concrete_function(spec)
                found[task.name] = function(batch).numpy()
    finally:
        if active is not None:
            net.activate(active.name)
    return found


def write_probe(
    net: PackNet, images: np.ndarray | None, file: pathlib.Path
) -> None:
    """Writes the images and the logits on them; an empty file for None."""
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
    """Returns a state's probe images, and the logits kept, by task name.

    Raises:
        StateError: If the file is damaged, or is not of this state.
    """
    check_array_archive(state.probe_path)
    if state.manifest.probe not in (OPEN, FIXED):
        raise StateError(
            f"{state.path} has a probe of {state.manifest.probe[:80]!r}, "
            f"expected {OPEN!r} or {FIXED!r}; restore it from a copy."
        )
    try:
        with np.load(state.probe_path, allow_pickle=False) as arrays:
            images = arrays["images"] if "images" in arrays else None
            logits = {
                task.name: arrays[f"logits_{task.owner}"]
                for task in state.tasks
                if f"logits_{task.owner}" in arrays
            }
    except Exception as error:
        raise StateError(f"{state.probe_path} is damaged: {error}") from error
    expected = [task.name for task in state.tasks if task.classes]
    if images is not None and list(logits) != expected:
        raise StateError(
            f"{state.probe_path} holds logits of {', '.join(logits) or 'none'},"
            f" expected {', '.join(expected)}; restore it from a copy."
        )
    return images, logits
