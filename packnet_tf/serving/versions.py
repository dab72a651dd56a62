"""Writes and repairs the versions of a served model.

`serving/NAME/<version>/` is the layout of TensorFlow Serving; the version is
the number of packed tasks. A state and its version are written in two steps;
`recover` repairs what an interruption between them left.
"""

import pathlib

from packnet_tf import atomic_files
from packnet_tf.errors import StateError
from packnet_tf.model.packnet import PackNet
from packnet_tf.options.serving import LAYOUTS, ServingConfig
from packnet_tf.serving.models_config import (
    FILE,
    has_versions,
    versions_of,
    write_config,
)
from packnet_tf.serving.saved_model import export_saved_model
from packnet_tf.storage import checksums
from packnet_tf.storage.states import load_outside
from packnet_tf.storage.workdir import StateInfo, Workdir


def publish(
    workdir: Workdir,
    state: StateInfo,
    config: ServingConfig,
    net: PackNet | None = None,
) -> pathlib.Path:
    """Exports a packed state as a version of the workdir's served model.

    `models.config`, for `tensorflow_model_server --model_config_file`, is
    written beside the versions: `latest` moves to the newest version and
    `stable` stays where it is. Hold `workdir.lock()`.

    Args:
        workdir: The workdir.
        state: The state.
        config: Name and layout of the served model.
        net: See `export`.

    Returns:
        The SavedModel's folder.

    Raises:
        StateError: If the version exists, or cannot be written.
    """
    folder = workdir.serving_path / config.model_name
    path = folder / str(state.number)
    export(workdir, state, path, config.layout, net)
    write_config(folder, versions_of(folder))
    return path


def export(
    workdir: Workdir,
    state: StateInfo,
    path: pathlib.Path,
    layout: str,
    net: PackNet | None = None,
) -> pathlib.Path:
    """Writes a packed state's SavedModel without touching `models.config`.

    Args:
        workdir: The workdir.
        state: The state.
        path: The folder to make.
        layout: One of `LAYOUTS`.
        net: The state's network as read from its file under the default
            strategy; by default it is read here.

    Returns:
        The path.

    Raises:
        StateError: If the folder exists, or cannot be written.
    """
    atomic_files.check_absent(path)
    if net is None:
        net = load_outside(workdir, state.number)
    run = workdir.run
    return export_saved_model(
        net,
        path,
        image_size=None if run is None else run.image_size,
        preprocessing={task.name: task.preprocessing for task in state.tasks},
        layout=layout,
    )


def recover(workdir: Workdir, config: ServingConfig) -> list[str]:
    """Repairs what an interruption left; call it before any other work.

    It removes unfinished files and versions whose state is gone. States
    without a version are exported again, and so are versions whose tasks were
    renamed, in the layout that they have. The label `stable` stays if its
    version does. Folders that this package did not write are left alone. Hold
    `workdir.lock()`.

    Args:
        workdir: The workdir.
        config: Name of the served model, and the layout for versions that are
            missing; see `config_of`.

    Returns:
        One line for each repair; empty if there was nothing to do.

    Raises:
        StateError: If a state is damaged, or the workdir cannot be written.
    """
    done = []
    folder = workdir.serving_path / config.model_name
    for place in (
        workdir.path,
        workdir.states_path,
        workdir.training_path,
        workdir.serving_path,
        folder,
    ):
        for name in atomic_files.remove_leftovers(place):
            done.append(f"removed the unfinished {place / name}")
    states = {state.number: state for state in workdir.states()}
    found = versions_of(folder)
    layouts = {number: _layout_of(path) for number, path in found.items()}
    renamed = set()
    for number, path in found.items():
        state = states.get(number)
        if state is not None and _is_of(path, state):
            continue
        if state is not None and _is_of(path, state, whatever_names=True):
            renamed.add(number)
        else:
            done.append(f"removed {path}, which is of no packed state")
        atomic_files.remove_folder(path)
    missing = states.keys() - versions_of(folder).keys()
    for number in sorted(missing):
        path = folder / str(number)
        if path.exists():
            done.append(f"left {path}, which is not ours")
            continue
        layout = layouts.get(number) or config.layout
        export(workdir, states[number], path, layout)
        why = "under the new names" if number in renamed else "again"
        done.append(f"exported {path} {why}")
    # Only at the end, or `stable` would leave a version being exported again.
    left = versions_of(folder)
    if write_config(folder, left) and not done:
        done.append(f"wrote {folder / FILE} again")
    if not left and (folder / FILE).exists():
        (folder / FILE).unlink()
        done.append(f"removed {folder / FILE}, which names no version any more")
    return done


def recover_all(workdir: Workdir) -> list[str]:
    """Repairs all served models of a workdir; see `recover`."""
    if not workdir.serving_path.is_dir():
        return []
    done = []
    for folder in sorted(workdir.serving_path.iterdir()):
        if has_versions(folder):
            done += recover(workdir, config_of(folder))
    return done


def config_of(folder: pathlib.Path) -> ServingConfig:
    """Returns a served model's name, and the layout of its newest version.

    Args:
        folder: The model's folder.
    """
    newest_first = sorted(versions_of(folder).items(), reverse=True)
    known = (_layout_of(path) for _, path in newest_first)
    return ServingConfig(folder.name, next(filter(None, known), LAYOUTS[0]))


def state_of(workdir: Workdir, folder: pathlib.Path) -> StateInfo | None:
    """Returns the packed state that a version was exported from, or None.

    Args:
        workdir: The workdir.
        folder: The SavedModel's folder, sealed.

    Raises:
        StateError: If the state's manifest is damaged.
    """
    for path in workdir.state_folders():
        if str(workdir.number_of(path)) == folder.name:
            state = workdir.read_state(path)
            if _is_of(folder, state):
                return state
    return None


def _layout_of(path: pathlib.Path) -> str | None:
    """Returns a version's layout, or None if its record has none."""
    try:
        layout = checksums.read_seal(path).layout
    except StateError:
        return None
    return layout if layout in LAYOUTS else None


def _is_of(
    path: pathlib.Path, state: StateInfo, *, whatever_names: bool = False
) -> bool:
    """Whether a version answers for a state's tasks; not if damaged."""
    try:
        seal = checksums.read_seal(path)
    except StateError:
        return False
    if whatever_names:
        digests = [task.digest for task in seal.tasks]
        return digests == [task.digest for task in state.tasks]
    return seal.is_of(state.tasks)
