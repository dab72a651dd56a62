"""A packed task onto disk: its state, its SavedModel, and what a crash left."""

from typing import Any

import numpy as np

from packnet_tf.model.packnet import PackNet
from packnet_tf.options.serving import ServingConfig
from packnet_tf.serving import versions
from packnet_tf.storage import checkpoints, states
from packnet_tf.storage.workdir import StateInfo, Workdir
from packnet_tf.workflow import preflight
from packnet_tf.workflow.datasets import Prepared

_PROBES = 8


def commit_task(
    workdir: Workdir,
    serving: ServingConfig,
    net: PackNet,
    prepared: Prepared,
    metrics: dict[str, Any],
    facts: dict[str, Any],
) -> StateInfo:
    """Writes the state of a task just packed, and its SavedModel.

    Args:
        workdir: The workdir.
        serving: Name and layout of the served model.
        net: The network.
        prepared: Data, some images of which are kept with the answers.
        metrics: Figures of the task, for the manifest.
        facts: How it came about, for the manifest.

    Raises:
        StateError: If the workdir has vanished, or cannot be written.
    """
    # Cropped and mirrored, but the same in every run: an epoch's images
    # follow from its number, the seed and the files alone.
    images = next(iter(prepared.train.epoch(0)))[0][:_PROBES]
    state = states.commit(
        workdir,
        net,
        metrics={**metrics, "capacity_left": net.capacity},
        facts=facts,
        probe_images=np.asarray(images),
    )
    # The state is whole; if this stops here, `recover` does the rest.
    checkpoints.remove(workdir.training_path)
    versions.publish(workdir, state, serving)
    return state


def recover(workdir: Workdir, serving: ServingConfig) -> list[str]:
    """Finishes what an interrupted commit left; returns what was done.

    Args:
        workdir: The workdir.
        serving: Name and layout of the served model.
    """
    done = versions.recover(workdir, serving)
    folder = workdir.training_path
    record = checkpoints.read_record(folder)
    if record and preflight.is_packed(workdir.newest(), record.name):
        checkpoints.remove(folder)
        done.append(f"removed the checkpoint of {record.name}, packed")
    return done
