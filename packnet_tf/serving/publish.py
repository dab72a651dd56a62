"""SavedModels in the workdir, one version for every packed state.

`serving/NAME/<version>/` is the layout of TensorFlow Serving; the version is
the number of packed tasks. A state and its version are two steps: what an
interruption left between them, `recover` puts right.
"""

import pathlib
import re

from packnet_tf import atomic_files
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.errors import StateError
from packnet_tf.options.serving import LAYOUTS
from packnet_tf.serving.model_config import FILE, write_config
from packnet_tf.serving.saved_model import export_saved_model
from packnet_tf.storage import checksums
from packnet_tf.storage.states import load
from packnet_tf.storage.workdir import StateInfo, Workdir
from packnet_tf.tf_internals import outside_strategy

_VERSION = re.compile(r"[1-9]\d*")
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def check_model_name(name: str) -> None:
    """Refuses a name that a served model cannot have.

    Args:
        name: The model's name; that of its folder.

    Raises:
        StateError: If it cannot be a folder's name.
    """
    if not _MODEL_NAME.fullmatch(name):
        raise StateError(
            f"Model name {name!r} cannot be a folder; use 1 to 64 letters, "
            "digits, '_', '.' or '-', starting with a letter or digit."
        )


def publish(
    workdir: Workdir,
    state: StateInfo,
    *,
    model_name: str,
    image_size: int | None = None,
    layout: str = LAYOUTS[0],
) -> pathlib.Path:
    """Exports a packed state as a version of the workdir's served model.

    The arrays come from the state's file, read under the default strategy.
    `models.config`, for `tensorflow_model_server --model_config_file`, is
    written beside the versions: the label `latest` goes to the newest, and
    `stable` stays where it is. Hold `workdir.lock()`.

    Args:
        workdir: The workdir.
        state: The state.
        model_name: Name of the model, and of its folder.
        image_size: Height and width, where the backbone leaves them open.
        layout: One of `stored.LAYOUTS`, of versions to be written.

    Returns:
        The SavedModel's folder.

    Raises:
        StateError: If the name cannot be a folder's, the version exists, or
            it cannot be written.
    """
    check_model_name(model_name)
    folder = workdir.serving_path / model_name
    path = _export(workdir, state, folder, image_size, layout)
    write_config(folder, versions_of(folder))
    return path


def _export(
    workdir: Workdir,
    state: StateInfo,
    folder: pathlib.Path,
    image_size: int | None,
    layout: str,
) -> pathlib.Path:
    """Writes a state's version; `models.config` is left as it is."""
    path = folder / str(state.number)
    atomic_files.check_absent(path)
    net, _ = outside_strategy(lambda: load(workdir, state.number, origin=False))
    return export_saved_model(
        net,
        path,
        image_size=image_size,
        preprocessing=preprocessing_of(state),
        layout=layout,
    )


def preprocessing_of(state: StateInfo) -> dict[str, Preprocessing]:
    """Returns how the images of each task become the network's, by name.

    Args:
        state: The state; its manifest says how each task saw its images.
    """
    return {
        task.name: Preprocessing.from_facts(task.data_facts)
        for task in state.tasks
    }


def recover(
    workdir: Workdir,
    *,
    model_name: str,
    image_size: int | None = None,
    layout: str | None = None,
) -> list[str]:
    """Puts right what an interruption left; call it before any other work.

    Leftovers of interrupted writing are removed; a state without its version
    is exported again; a version whose state is gone is removed, and one whose
    tasks have other names now is exported again, in the layout that it has.
    The label `stable` stays, if its version does. Folders that this package
    did not write stay. Hold `workdir.lock()`.

    Args:
        workdir: The workdir.
        model_name: Name of the served model.
        image_size: Height and width, where the backbone leaves them open.
        layout: One of `stored.LAYOUTS`, of versions that are not there; by
            default that of the newest which is.

    Returns:
        One line for each thing done; empty if all was right.

    Raises:
        StateError: If a state is damaged, or the workdir cannot be written.
    """
    done = []
    folder = workdir.serving_path / model_name
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
    if layout is None:
        known = [made for _, made in sorted(layouts.items()) if made]
        layout = known[-1] if known else LAYOUTS[0]
    for number, path in found.items():
        state = states.get(number)
        if state is None or not _is_of(path, state):
            atomic_files.remove_folder(path)
            done.append(f"removed {path}, which is of no packed state")
    missing = states.keys() - versions_of(folder).keys()
    for number in sorted(missing):
        path = folder / str(number)
        if path.exists():
            done.append(f"left {path}, which is not ours")
            continue
        made_in = layouts.get(number) or layout
        _export(workdir, states[number], folder, image_size, made_in)
        done.append(f"exported {path} again")
    # Once, at the end: a label would not stay at a version that is away.
    if write_config(folder, versions_of(folder)) and not done:
        done.append(f"wrote {folder / FILE} again")
    return done


def versions_of(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """Returns the versions that this package wrote, by number."""
    if not folder.is_dir():
        return {}
    return {
        int(path.name): path
        for path in sorted(folder.iterdir())
        if _VERSION.fullmatch(path.name) and checksums.is_sealed(path)
    }


def has_versions(folder: pathlib.Path) -> bool:
    """Whether a folder holds versions that this package wrote."""
    return (folder / FILE).is_file() or bool(versions_of(folder))


def state_of(workdir: Workdir, folder: pathlib.Path) -> StateInfo | None:
    """Returns the packed state that a version is of, or None.

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
    """Returns a version's layout, or None if its record tells none."""
    try:
        layout = checksums.read_seal(path).layout
    except StateError:
        return None
    return layout if layout in LAYOUTS else None


def _is_of(path: pathlib.Path, state: StateInfo) -> bool:
    """Whether a version answers for a state's tasks; none if damaged."""
    try:
        return checksums.read_seal(path).is_of(state.tasks)
    except StateError:
        return False
