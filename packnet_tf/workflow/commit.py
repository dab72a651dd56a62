"""Writes a packed task's state and SavedModel, and repairs after a crash."""

from typing import Any

import numpy as np

from packnet_tf.model import workers
from packnet_tf.model.packnet import PackNet
from packnet_tf.options.serving import ServingConfig
from packnet_tf.serving import models_config, versions
from packnet_tf.storage import checkpoints, retention, states
from packnet_tf.storage.workdir import StateInfo, Workdir
from packnet_tf.workflow import preflight, shared_workdir
from packnet_tf.workflow.datasets import Prepared
from packnet_tf.workflow.follow import follow

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

    Of several workers the chief writes, and the others wait for it.

    Args:
        workdir: The workdir.
        serving: Name and layout of the served model, and how many states
            are kept.
        net: The network.
        prepared: The data, which provides the probe's images.
        metrics: Figures of the task, for the manifest.
        facts: How it was made, for the manifest.

    Raises:
        StateError: If the workdir is gone or cannot be written.
    """
    strategy = net.distribute_strategy
    if workers.is_chief(strategy):
        _write(workdir, serving, net, prepared, metrics, facts)
    shared_workdir.look_again(workdir, strategy)
    return workdir.state(len(net.tasks))


def _write(
    workdir: Workdir,
    serving: ServingConfig,
    net: PackNet,
    prepared: Prepared,
    metrics: dict[str, Any],
    facts: dict[str, Any],
) -> None:
    # Augmented, but the same in every run: an epoch's images depend only on
    # its number, the seed and the files.
    images = next(iter(prepared.train.epoch(0)))[0][:_PROBES]
    retention.begin(workdir, len(net.tasks))
    state, copy = states.commit_and_read(
        workdir,
        net,
        metrics={**metrics, "capacity_left": net.capacity},
        facts=facts,
        probe_images=np.asarray(images),
    )
    # The state is complete; after an interruption `recover` does the rest.
    checkpoints.remove(workdir.training_path)
    versions.publish(workdir, state, serving, copy)
    _drop_old(workdir, serving)


def _drop_old(workdir: Workdir, serving: ServingConfig) -> None:
    served = models_config.stable_versions(workdir.serving_path)
    if retention.drop(workdir, serving.keep_states, served):
        versions.recover_all(workdir)


def recover(workdir: Workdir, serving: ServingConfig, task: str) -> list[str]:
    """Finishes an interrupted commit, and interrupted changes of the states.

    Args:
        workdir: The workdir.
        serving: Name and layout of the served model, and how many states
            are kept.
        task: The task that the command is for. If it is the newest packed,
            its commit may have been interrupted before old states went.

    Returns:
        One line for each thing done.
    """
    done = follow(workdir, serving)
    folder = workdir.training_path
    record = checkpoints.read_record(folder)
    newest = workdir.newest()
    if record and preflight.is_packed(newest, record.name):
        checkpoints.remove(folder)
        done.append(f"removed the checkpoint of {record.name}, packed")
    if newest is not None and newest.name == task:
        _drop_old(workdir, serving)
    return done
