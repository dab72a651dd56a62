"""Exports a packed state as a SavedModel, or one of its tasks alone."""

import dataclasses
import pathlib

import keras
import numpy as np

from packnet_tf import atomic_files
from packnet_tf.errors import (
    FlagError,
    NetworkError,
    PackNetError,
    StateError,
    first_line,
)
from packnet_tf.model.extract import extract
from packnet_tf.options.serving import ServingConfig
from packnet_tf.serving import models_config, versions
from packnet_tf.serving.formats import FORMS, check_form
from packnet_tf.storage import golden, retention, states
from packnet_tf.storage.default_strategy import outside_strategy
from packnet_tf.storage.workdir import StateInfo, Workdir
from packnet_tf.tf_internals.layers import layers_of

# How far scores may differ from Keras's, relative to the largest one, since
# other runtimes sum in another order.
TOLERANCE = 1e-4
_ROWS = 4
_CONFIG = ServingConfig()


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: The file or folder.
        difference: The largest difference from Keras's scores on a few
            images, or None if nothing was compared.
    """

    path: pathlib.Path
    difference: float | None = None


def export_state(
    workdir: Workdir,
    which: str | int | None = None,
    *,
    output: pathlib.Path | None = None,
    config: ServingConfig = _CONFIG,
) -> Exported:
    """Writes the SavedModel of a packed state again.

    Args:
        workdir: The workdir; hold its lock if there is no `output`.
        which: The state's number or name; the newest if None.
        output: The folder to make; by default the state's version of the
            workdir's served model.
        config: Name and layout of the served model.

    Raises:
        StateError: If the folder exists, or there is no such state.
    """
    state = workdir.state(which)
    if output is None:
        return Exported(versions.publish(workdir, state, config))
    return Exported(versions.export(workdir, state, output, config.layout))


def set_stable(
    workdir: Workdir, version: int, config: ServingConfig
) -> pathlib.Path:
    """Moves the label `stable` of the served model.

    Args:
        workdir: The workdir; hold its lock.
        version: The version that gets it.
        config: Name of the served model.

    Returns:
        The `models.config`.

    Raises:
        StateError: If there is no such version, or its state is about to go.
    """
    if version in retention.leaving(workdir):
        raise StateError(
            f"version {version} is of a state whose removal (--keep_states) "
            "was interrupted, and the next task or undo finishes it; give "
            "another version."
        )
    folder = workdir.serving_path / config.model_name
    found = models_config.versions_of(folder)
    if not found:
        raise StateError(
            f"{folder} has no versions; give the --model_name that they were "
            "written with."
        )
    models_config.write_config(folder, found, stable=version)
    return folder / models_config.FILE


def export_task(
    workdir: Workdir,
    task: str,
    output: pathlib.Path,
    *,
    form: str = "saved_model",
    which: str | int | None = None,
) -> Exported:
    """Writes one task as a plain model, without the other tasks.

    The model takes pixels from 0 to 255 and returns the task's scores. It is
    loaded again and compared with Keras, on the images kept with the state
    if there are any, otherwise on random ones.

    Args:
        workdir: The workdir.
        task: The task's name.
        output: The file or folder to make; of a Keras file the name ends in
            `.keras`.
        form: One of `FORMS`.
        which: The state's number or name; the newest if None. A task's
            answers are the same in all.

    Raises:
        FlagError: If `output` lacks the ending that Keras needs.
        StateError: If `output` exists, or there is no such state.
        TaskError: If the state has no such task, or a weight of it is NaN or
            infinite.
        NetworkError: If the form is unknown, its packages are missing, the
            network cannot be written in it, or the file's scores differ.
    """
    check_form(form)
    if form == "keras" and output.suffix != ".keras":
        raise FlagError(
            f"--output={output}: Keras reads --format=keras only from a file "
            "whose name ends in .keras; add it."
        )
    atomic_files.check_absent(output)
    state = workdir.state(which)
    state.task(task)
    net = states.load_outside(workdir, state.number)
    net.refuse_not_finite(task)
    model = outside_strategy(lambda: extract(net, task))
    images = _images(state, model)
    write = (
        atomic_files.whole_folder
        if form == "saved_model"
        else atomic_files.whole_file
    )
    with write(output) as aside:
        found = _write(form, model, aside, images)
        if found is None:
            return Exported(output)
        expected = np.asarray(model.predict(images, verbose=0))
        difference = float(np.max(np.abs(found - expected), initial=0.0))
        if not difference <= TOLERANCE * max(1.0, np.abs(expected).max()):
            raise NetworkError(
                f"{output}: answers differ from those of Keras by "
                f"{difference:.2g}, more than {TOLERANCE:g}; this network "
                f"cannot be written as {form}. Use another --format."
            )
    return Exported(output, difference)


def _write(
    form: str,
    model: keras.Model,
    path: pathlib.Path,
    images: np.ndarray | None,
) -> np.ndarray | None:
    """Writes a model, and returns what the file answers to images, if any."""
    try:
        run = FORMS[form](model, path)
        return None if images is None else run(images)
    except (PackNetError, OSError):
        raise
    except Exception as error:
        # The libraries of a format raise anything.
        precisions = {layer.dtype_policy.name for layer in layers_of(model)}
        raise NetworkError(
            f"--format={form}: a network of precision "
            f"{', '.join(sorted(precisions))} cannot be written, or answer, "
            f"in it ({first_line(error)}); use another --format."
        ) from error


def _images(state: StateInfo, model: keras.Model) -> np.ndarray | None:
    """Returns a few inputs, or None if they cannot be made."""
    images, _ = golden.read_probe(state)
    if images is not None:
        return images[:_ROWS]
    if len(model.inputs) != 1 or None in model.input_shape[1:]:
        return None
    random = np.random.default_rng(0)
    shape = (_ROWS, *model.input_shape[1:])
    return random.uniform(0, 255, shape).astype(np.float32)
