"""Computes the accuracies of all packed tasks, and one task's predictions."""

import dataclasses
import pathlib
from collections.abc import Collection, Mapping

import numpy as np

from packnet_tf.data.images.pixel_path import read_for_evaluation
from packnet_tf.data.sources.folder import image_files
from packnet_tf.errors import DataError, TaskError
from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow import test_data
from packnet_tf.workflow.metrics import ClassScore, by_class, share_right


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """One task's line of an evaluation.

    Attributes:
        task: Its name.
        classes: Its classes.
        images: Images of its test data, or None.
        accuracy: Share of right answers, or None.
        note: Why there is no accuracy, e.g. `"no data"`.
        owned: Share of the network's weights that it owns.
        free_after: Share that was free after it was packed.
        by_class: A line for each class, if requested.
    """

    task: str
    classes: int
    images: int | None
    accuracy: float | None
    note: str
    owned: float
    free_after: float
    by_class: tuple[ClassScore, ...] = ()


@dataclasses.dataclass(frozen=True)
class Answer:
    """A task's answer for one image.

    Attributes:
        image: The file.
        classes: Pairs of class name and score, best first.
    """

    image: str
    classes: tuple[tuple[str, float], ...]


def evaluate_tasks(
    workdir: Workdir,
    places: Mapping[str, str] | None = None,
    *,
    which: str | int | None = None,
    data_dir: str | None = None,
    batch_size: int = 32,
    in_detail: Collection[str] = (),
) -> list[Evaluated]:
    """Evaluates every packed task on its test data.

    Args:
        workdir: The workdir.
        places: The data of some tasks, by name; by default the data that they
            were trained on.
        which: The packed state; the newest if None.
        data_dir: Folder of prepared TFDS datasets.
        batch_size: Images per step.
        in_detail: Tasks to evaluate class by class too.

    Returns:
        A line for each task, in order.

    Raises:
        TaskError: If `places` or `in_detail` names an unknown task.
        DataError: If data in `places` is missing or has other classes.
    """
    places = dict(places or {})
    net, state = states.load(workdir, which, origin=False)
    for name in (*places, *in_detail):
        net.task(name)
    size = test_data.image_size_of(workdir)
    free, rows = 1.0, []
    weights = sum(
        int(np.prod(kernel.variable.shape)) for kernel in net.masked_kernels()
    )
    for task in net.tasks:
        record = state.task(task.name)
        owned = record.weights / weights
        free -= owned
        test, note = None, "no data"
        if task.classes == 0:
            note = "no head"
        else:
            test, note = test_data.find(record, places.get(task.name), data_dir)
        share = count = None
        classes: tuple[ClassScore, ...] = ()
        if test is not None:
            net.activate(task.name)
            images = test_data.batches(record, test, size, batch_size)
            labels, scores = test_data.scores(net, images, test)
            answered = np.argmax(scores, -1)
            share, count = share_right(labels, answered), len(test)
            if task.name in in_detail:
                names = task.class_names or test.class_names
                classes = by_class(labels, answered, names)
        rows.append(
            Evaluated(
                task.name,
                task.classes,
                count,
                share,
                note,
                owned,
                free,
                classes,
            )
        )
    return rows


def predict_files(
    workdir: Workdir,
    task: str,
    images: str,
    *,
    top: int = 3,
    which: str | int | None = None,
) -> list[Answer]:
    """Classifies an image file, or all images in a folder, with one task.

    Args:
        workdir: The workdir.
        task: The task's name.
        images: A file or a folder.
        top: Classes to return for each image.
        which: The packed state; the newest if None.

    Raises:
        TaskError: If there is no such task, or it has no head.
        DataError: If there is no image, or a file cannot be decoded.
    """
    path = pathlib.Path(images)
    if path.is_dir():
        files = image_files(path)
    else:
        files = [path] if path.is_file() else []
    if not files:
        raise DataError(
            f"--images={images}: no image found; give an image file, or a "
            "folder of them."
        )
    net, state = states.load(workdir, which, origin=False)
    record = net.activate(task)
    if record.classes == 0:
        raise TaskError(
            f"Task {task!r} has no head, so it cannot classify; ask another "
            "task."
        )
    names = record.class_names or [str(i) for i in range(record.classes)]
    preprocessing = state.task(task).preprocessing
    answers = []
    for file in files:
        try:
            pixels = read_for_evaluation(
                _content(file), test_data.image_size_of(workdir), preprocessing
            )
        except DataError as error:
            raise DataError(f"{file}: {error}") from error
        scores = np.asarray(net.predict_on_batch(pixels[None]))[0]
        best = np.argsort(-scores, kind="stable")[:top]
        answers.append(
            Answer(str(file), tuple((names[i], float(scores[i])) for i in best))
        )
    return answers


def _content(file: pathlib.Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{error.strerror}.") from error
