"""Commits and loads packed states.

A packed state is the whole network after a task was packed. It is written
once, atomically, and never changed; commit and load both check the digests of
its tasks.
"""

import os
import pathlib
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np

from packnet_tf import atomic_files
from packnet_tf.errors import PhaseError, PromiseError, StateError
from packnet_tf.model.packnet import PackNet
from packnet_tf.storage import checksums, golden, manifest
from packnet_tf.storage.default_strategy import outside_strategy
from packnet_tf.storage.environment import machine_facts
from packnet_tf.storage.network_file import (
    check_network,
    read_network,
    write_network,
)
from packnet_tf.storage.origin import keep_origin, origin_arrays
from packnet_tf.storage.workdir import StateInfo, Workdir
from packnet_tf.tf_internals.layers import is_graph
from packnet_tf.untrusted.archives import check_array_archive


def commit(
    workdir: Workdir,
    net: PackNet,
    *,
    metrics: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    probe_images: np.ndarray | None = None,
) -> StateInfo:
    """Writes the packed network as the workdir's next state.

    The state is written to a temporary folder, without the optimizer, read
    back, compared, and then moved into place. Hold `workdir.lock()`.

    Args:
        workdir: The workdir.
        net: The network; its newest task has just been packed.
        metrics: Figures of the newest task, for the manifest, JSON-able.
        facts: How the newest task was made (fractions, seeds, data, time),
            for the manifest, JSON-able.
        probe_images: A few real images, float32 [n, height, width, 3].
            Every task's logits on them are kept, for later replays.

    Returns:
        The new state.

    Raises:
        PhaseError: If the newest task is not packed.
        PromiseError: If an older task has changed.
        StateError: If the state exists already, cannot be written, differs
            when read back, or the locked workdir is gone.
    """
    return commit_and_read(
        workdir, net, metrics=metrics, facts=facts, probe_images=probe_images
    )[0]


def commit_and_read(
    workdir: Workdir,
    net: PackNet,
    *,
    metrics: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    probe_images: np.ndarray | None = None,
) -> tuple[StateInfo, PackNet]:
    """Commits, and returns the state with its network as read back.

    That network is of the default strategy, as of `load_outside`. Arguments
    and errors are those of `commit`.
    """
    newest = net.newest
    if newest is None or not newest.packed:
        raise PhaseError(
            "Only a packed network is committed; pack() its newest task first."
        )
    workdir.check_there()
    before = workdir.newest()
    if before is not None:
        _check_follows(net, before)
    path = workdir.state_path(newest.owner, newest.name)
    with atomic_files.whole_folder(path) as aside:
        write_network(net, aside / "net.keras")

        def read_back():
            file = aside / "net.keras"
            copy = read_network(file)
            try:
                check_network(copy, {t.name: t.digest for t in net.tasks}, file)
            except StateError:
                # Is it the network that has changed, or the file?
                net.verify_digests()
                raise
            if before is not None and not net.book.sealed.is_certain(
                net.tasks[:-1]
            ):
                _check_answers(copy, before)
            # From what was written, under the default strategy, as in
            # later replays.
            golden.write_probe(copy, probe_images, aside / "probe.npz")
            return copy

        copy = outside_strategy(read_back)
        # Only now, so that a network that is refused leaves nothing.
        origin = _origin_digest(workdir, net, before)
        run = _digest_if_there(workdir.run_path)
        manifest.write(
            aside,
            _packed_tasks(net, before, metrics, facts),
            machine=machine_facts(),
            versions=_versions(),
            probe=golden.OPEN,
            origin=origin,
            run=run,
        )
    return workdir.read_state(path), copy


def load(
    workdir: Workdir | str | os.PathLike[str],
    which: str | int | None = None,
    *,
    origin: bool = True,
) -> tuple[PackNet, StateInfo]:
    """Loads a packed state; its newest task is active.

    The network is made in the caller's strategy scope.

    Args:
        workdir: The workdir, or its path.
        which: The state's number or name; the newest if None.
        origin: Whether the network has the unpruned kernels too, if they
            were kept. Only new tasks need them, and read them from the
            workdir.

    Returns:
        The network and the state.

    Raises:
        StateError: If there is no such state, or one of its files is damaged.

    Example:

    >>> net, state = load("runs/m")
    >>> net.activate("birds")
    """
    if not isinstance(workdir, Workdir):
        workdir = Workdir(workdir)
    state = workdir.state(which)
    file = state.network_path
    checksums.refuse_damaged(file, state.manifest.files[file.name])
    net = read_network(file)
    tasks = state.manifest.tasks
    check_network(net, {t.name: t.digest for t in tasks}, file)
    _check_records(net, state)
    _check_run(net, workdir)
    for task, record in zip(net.tasks, state.tasks, strict=True):
        # The file has the old names of renamed tasks.
        task.name = record.name
    digest = state.manifest.origin
    if origin and digest:
        checksums.refuse_damaged(workdir.origin_path, digest)
        check_array_archive(workdir.origin_path)
        keep_origin(net, workdir.origin_path)
    return net, state


def load_outside(
    workdir: Workdir, which: str | int, *, origin: bool = False
) -> PackNet:
    """Loads a packed state's network under the default strategy.

    Args:
        workdir: The workdir.
        which: The state's number or name.
        origin: See `load`.

    Raises:
        StateError: As `load`.
    """
    return outside_strategy(lambda: load(workdir, which, origin=origin))[0]


def _check_follows(net: PackNet, before: StateInfo) -> None:
    """Refuses a network that did not grow out of the newest state."""
    ours = [(task.name, task.digest) for task in net.tasks]
    theirs = [(task.name, task.digest) for task in before.tasks]
    if len(ours) <= len(theirs):
        raise StateError(
            f"{before.path} is as new as the network, whose newest task is "
            f"{net.tasks[-1].name!r}; load that state and add tasks to it, "
            "or use another workdir."
        )
    if ours[: len(theirs)] != theirs:
        raise StateError(
            f"The network's older tasks are not those of {before.path}; load "
            "that state and add tasks to it, or use another workdir."
        )


def _check_answers(net: PackNet, before: StateInfo) -> None:
    """Asks older tasks what they answered in the state before.

    Raises:
        PromiseError: Naming the tasks that answer otherwise.
    """
    changed = [
        f"{answered.task} ({answered})"
        for answered in golden.replay_network(before, net)
        if not answered.ok
    ]
    if changed:
        raise PromiseError(
            f"Packed task(s) {', '.join(changed)} answer otherwise than in "
            f"{before.path}, with the same weights: a layer computes something "
            "else. Load that state, and add the task again."
        )


def _check_records(net: PackNet, state: StateInfo) -> None:
    """Refuses a manifest whose task records differ from the network's."""
    for task, record in zip(net.tasks, state.manifest.tasks, strict=True):
        for key, ours in sorted(vars(task).items()):
            if getattr(record, key) != ours:
                raise StateError(
                    f"{state.path / 'manifest.json'} is damaged: it has other "
                    f"{key} of task {task.name!r} than "
                    f"{state.network_path.name}; restore it from a copy, or "
                    "go back to an earlier state."
                )


def _check_run(net: PackNet, workdir: Workdir) -> None:
    """Refuses a `run.json` that says other things than the network does.

    Workdirs of early releases have no digest of it. A file that cannot be read
    is left to those who need it.
    """
    try:
        run = workdir.run
    except StateError:
        return
    if run is None:
        return
    there: dict[str, Any] = {
        "private": net.private,
        "depthwise": net.depthwise,
        "packed_precision": net.packed_precision,
    }
    size = _image_size(net)
    if size is not None:
        there["image_size"] = size
    for name, ours in there.items():
        if getattr(run, name) != ours:
            raise StateError(
                f"{workdir.run_path} is damaged: it has {name}="
                f"{getattr(run, name)!r}, and the network has {ours!r}; "
                "restore it from a copy."
            )


def _image_size(net: PackNet) -> int | None:
    """Returns the height and width of a network's images, if they are fixed."""
    if not is_graph(net.backbone) or len(net.backbone.inputs) != 1:
        return None
    shape = net.backbone.inputs[0].shape
    return shape[1] if len(shape) == 4 and shape[1] == shape[2] else None


def _packed_tasks(
    net: PackNet,
    before: StateInfo | None,
    metrics: Mapping[str, Any] | None,
    facts: Mapping[str, Any] | None,
) -> list[manifest.PackedTask]:
    """Returns the manifest's records, with older tasks as they were."""
    known = {task.name: task for task in before.tasks} if before else {}
    totals = net.owner_totals()
    records = []
    for task in net.tasks:
        if task is net.newest:
            figures, how = metrics, facts
        elif task.name in known:
            figures, how = known[task.name].metrics, known[task.name].facts
        else:
            figures = how = None
        records.append(
            manifest.PackedTask(
                **vars(task),
                weights=totals.get(task.owner, 0),
                metrics=dict(figures or {}),
                facts=dict(how or {}),
            )
        )
    return records


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("packnet_tf", "tensorflow", "keras", "numpy", "zstandard"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _digest_if_there(file: pathlib.Path) -> str | None:
    return checksums.digest_of_file(file) if file.exists() else None


def _origin_digest(
    workdir: Workdir, net: PackNet, before: StateInfo | None
) -> str | None:
    """Writes the unpruned kernels, once; returns their file's digest."""
    file = workdir.origin_path
    if before is not None and file.exists():
        return before.manifest.origin or checksums.digest_of_file(file)
    arrays: dict[str, Any] = {**origin_arrays(net)}
    if arrays:
        with atomic_files.whole_file(file) as aside, open(aside, "wb") as f:
            np.savez(f, **arrays)
    return _digest_if_there(file)
