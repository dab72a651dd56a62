"""Writes a packed network as a SavedModel, with a signature per task."""

import hashlib
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from packnet_tf import atomic_files
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.errors import (
    NetworkError,
    PhaseError,
    PromiseError,
    StateError,
)
from packnet_tf.layers.switch import whole_kernels
from packnet_tf.model import heads
from packnet_tf.model.packnet import PackNet
from packnet_tf.serving import warmup
from packnet_tf.serving.functions import Program
from packnet_tf.serving.signatures import names_ranked, signatures_of
from packnet_tf.serving.weight_store import LAYOUTS, check_layout
from packnet_tf.storage import checksums
from packnet_tf.storage.default_strategy import outside_strategy
from packnet_tf.storage.network_file import mask_problems
from packnet_tf.tf_internals.layers import is_graph

# The asset with each task's class names, in the order of the scores.
CLASS_NAMES = "class_names.json"


def export_saved_model(
    net: PackNet,
    path: str | os.PathLike[str],
    *,
    image_size: int | None = None,
    preprocessing: Mapping[str, Preprocessing] | None = None,
    layout: str = LAYOUTS[0],
) -> pathlib.Path:
    """Writes a packed network as one SavedModel with a signature per task.

    Each task has a signature of its name; the newest with a head is also
    `serving_default`. Input: `images`, float32 [batch, height, width, 3],
    pixels 0 to 255. A backbone that takes anything but one batch of images
    keeps its Keras inputs, with their names (or the keys of its dict) and
    dtypes, strings included: the tables of TextVectorization, StringLookup and
    IntegerLookup are inside the SavedModel. Outputs: `logits` and `scores`,
    float32 [batch, ..., classes], and `classes`, string [batch, classes], the
    class names (`"0"`, `"1"`, ... where the task has none). A task without a
    head returns `features`.

    A network of square images also has `<task>_bytes` (encoded image files),
    `all_tasks`, `by_task` and `auto`; docs/serving.md describes them. The
    class names of all tasks are in `assets/class_names.json`. With the
    package's extra `serving` installed, `assets.extra` has warmup requests
    for TensorFlow Serving.

    In both layouts, logits have the same bytes as those of `net.logits` in a
    `tf.function` with an open batch size, for the same batch on the same
    machine. (Eagerly, or with a fixed batch size, TensorFlow may sum in
    another order and round differently.) Each weight is stored once. The
    layout `folded` computes the tasks' views when the model is loaded;
    `on_the_fly` computes them in every call, which takes less memory and more
    time. Loading needs neither Keras nor packnet_tf.

    Args:
        net: The network, with all its tasks packed, of any strategy.
        path: The folder to make. It appears only when it is complete.
        image_size: Height and width, where the backbone leaves them open.
        preprocessing: How each task's images become network inputs in
            `<task>_bytes`, by the task's name; by default as for an image
            folder.
        layout: `"folded"` or `"on_the_fly"`.

    Returns:
        The path.

    Raises:
        PhaseError: If a task is still in training, or there is none.
        PromiseError: If a packed task has changed.
        TaskError: If `preprocessing` names an unknown task, or a weight is
            NaN or infinite.
        StateError: If the folder exists or cannot be written.
        NetworkError: If the layout is unknown, the input sizes are open, or
            the network holds state that cannot be exported.

    Example:

    >>> export_saved_model(net, "serving/net/2")
    >>> served = tf.saved_model.load("serving/net/2")
    >>> served.signatures["birds"](images=images)["scores"]
    """
    path = pathlib.Path(path)
    check_layout(layout)
    newest = net.newest
    if newest is None or not newest.packed:
        what = (
            "it has no task"
            if newest is None
            else (f"task {newest.name!r} is in its {newest.phase} phase")
        )
        raise PhaseError(
            f"Only packed networks are exported, but {what}; pack() first."
        )
    for name in preprocessing or ():
        net.task(name)
    net.verify_digests()
    problems = mask_problems(net)
    if problems:
        raise PromiseError(
            f"The packed network has been changed: {problems[0]}; load the "
            "last packed state."
        )
    for task in net.tasks:
        net.refuse_not_finite(task.name)
    # Inside a strategy's scope, variables would be mirrored.
    outside_strategy(
        lambda: _write(net, path, image_size, preprocessing, layout)
    )
    return path


def _write(
    net: PackNet,
    path: pathlib.Path,
    image_size: int | None,
    preprocessing: Mapping[str, Preprocessing] | None,
    layout: str,
) -> None:
    digest = state_digest(net)
    inputs = _input_specs(net, image_size)
    with whole_kernels():  # The layers compute with those they are given.
        program = Program(net, layout)
        with atomic_files.whole_folder(path) as aside:
            arrays = aside / "arrays"
            arrays.mkdir()
            program.write(arrays)
            answers = program.answers(inputs)
            signatures = signatures_of(
                net.tasks, answers, inputs, preprocessing
            )
            module = program.module()
            module.class_names = _class_names(net, arrays)
            # Traced already; given the functions, TensorFlow traces again.
            traced = {
                name: function.get_concrete_function()
                for name, function in signatures.items()
            }
            try:
                tf.saved_model.save(module, str(aside), signatures=traced)
            except tf.errors.OpError as error:
                raise StateError(
                    f"{path}: cannot be written ({error.message}); make room "
                    "or give another folder, and run again."
                ) from error
            # The SavedModel has its own copies now.
            shutil.rmtree(arrays)
            ranked = names_ranked(net.tasks, answers)
            warmup.write(aside, signatures, ranked, path.parent.name)
            checksums.seal_folder(aside, digest, net.tasks, layout)


def _class_names(net: PackNet, folder: pathlib.Path) -> tf.saved_model.Asset:
    """Returns the class names of all tasks as a file of the SavedModel."""
    path = folder / CLASS_NAMES
    path.write_bytes(
        checksums.json_bytes(
            {
                task.name: task.class_names
                or [str(number) for number in range(task.classes)]
                for task in net.tasks
            }
        )
    )
    return tf.saved_model.Asset(str(path))


def state_digest(net: PackNet) -> str:
    """Returns a digest of all packed tasks, in order (hexadecimal)."""
    whole = hashlib.sha256()
    for task in net.tasks:
        whole.update(f"{task.owner} {task.name} {task.digest}\n".encode())
    return whole.hexdigest()


def _input_specs(net: PackNet, image_size: int | None) -> Any:
    """Returns the specs of the network's inputs, in its structure."""
    backbone = net.backbone
    if not is_graph(backbone):
        # A subclassed backbone knows at most the shape it was built for, not
        # its dtypes.
        built = backbone.get_build_config() or {}
        shape = built.get("input_shape", (None, None, None, 3))
        shape = next(iter(built.get("shapes_dict", {}).values()), shape)
        if isinstance(shape, dict) or any(
            isinstance(part, (dict, list, tuple)) for part in shape
        ):
            raise NetworkError(
                f"{backbone.name!r} ({type(backbone).__name__}) is a "
                "subclassed model with several inputs, whose names and types "
                "nothing tells; wrap it in a functional model to export it."
            )
        return _image_spec(list(shape), image_size)
    taken = backbone.inputs
    if not isinstance(backbone, keras.Sequential):
        taken = backbone.input
    taken = heads.only(taken)
    if hasattr(taken, "shape") and len(taken.shape) == 4:
        return _image_spec(list(taken.shape), image_size)
    if isinstance(taken, dict) and not any(
        isinstance(part, (dict, list, tuple)) for part in taken.values()
    ):
        return {key: _spec(part, key) for key, part in taken.items()}
    return tf.nest.map_structure(lambda part: _spec(part, part.name), taken)


def _spec(taken: keras.KerasTensor, name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None, *taken.shape[1:]], taken.dtype, name=name)


def _image_spec(shape: list[Any], image_size: int | None) -> tf.TensorSpec:
    """Returns the spec of the images that the network takes."""
    if image_size is not None and len(shape) == 4:
        if any(size not in (None, image_size) for size in shape[1:3]):
            raise NetworkError(
                f"image_size={image_size}, but the backbone takes images of "
                f"{shape[1]} x {shape[2]} pixels; leave image_size out."
            )
        shape[1:3] = [image_size, image_size]
    if len(shape) == 4 and None in shape[1:]:
        raise NetworkError(
            f"The backbone takes inputs of shape {tuple(shape)}; give "
            "image_size where the size is open."
        )
    return tf.TensorSpec([None, *shape[1:]], tf.float32, name="images")
