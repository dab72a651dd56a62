"""Computes the accuracies of all packed tasks, and one task's predictions."""

import dataclasses
import pathlib
from collections.abc import Collection, Mapping

import numpy as np

from packnet_tf.data.images.pixel_path import read_for_evaluation
from packnet_tf.data.images.transcode import EXTENSIONS
from packnet_tf.data.integrity import no_errors_shown
from packnet_tf.data.sources.listing import Listing
from packnet_tf.errors import DataError, TaskError
from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow import test_data
from packnet_tf.workflow.metrics import ClassScore, by_class, share_right
from packnet_tf.workflow.train_loop import Say


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
        classes: Pairs of class name and score, best first; empty for a file
            that cannot be read.
        refusal: Why it cannot be read.
    """

    image: str
    classes: tuple[tuple[str, float], ...]
    refusal: str = ""


def evaluate_tasks(
    workdir: Workdir,
    places: Mapping[str, str] | None = None,
    *,
    which: str | int | None = None,
    data_dir: str | None = None,
    batch_size: int = 32,
    in_detail: Collection[str] = (),
    say: Say = print,
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
        say: Prints a line on files of the data that are left out.

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
    # Before the first is evaluated, which takes minutes.
    found = {
        task.name: test_data.find(
            state.task(task.name), places.get(task.name), data_dir
        )
        if task.classes
        else (None, "no head")
        for task in net.tasks
    }
    free, rows = 1.0, []
    weights = sum(
        int(np.prod(kernel.variable.shape)) for kernel in net.masked_kernels()
    )
    for task in net.tasks:
        record = state.task(task.name)
        owned = record.weights / weights
        free -= owned
        test, note = found[task.name]
        share = count = None
        classes: tuple[ClassScore, ...] = ()
        if test is not None:
            for line in test.notes:
                say(line)
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
    say: Say = print,
) -> list[Answer]:
    """Classifies an image file, or all images in a folder, with one task.

    A file of a folder that cannot be read keeps no other from its answer.

    Args:
        workdir: The workdir.
        task: The task's name.
        images: A file or a folder.
        top: Classes to return for each image.
        which: The packed state; the newest if None.
        say: Prints a line on files of the folder that are left out.

    Returns:
        An answer for each image, in the order of their names.

    Raises:
        TaskError: If there is no such task, or it has no head.
        DataError: If there is no image, or the one file cannot be read.
    """
    files = _image_files(images, say)
    net, state = states.load(workdir, which, origin=False)
    record = net.activate(task)
    if record.classes == 0:
        raise TaskError(
            f"Task {task!r} has no head, so it cannot classify; ask another "
            "task."
        )
    names = record.class_names or [str(i) for i in range(record.classes)]
    size = test_data.image_size_of(workdir)
    preprocessing = state.task(task).preprocessing
    answers = []
    for file in files:
        try:
            with no_errors_shown():
                pixels = read_for_evaluation(
                    _content(file), size, preprocessing
                )
        except DataError as error:
            if file == pathlib.Path(images):
                raise DataError(f"{file}: {error}") from error
            answers.append(Answer(str(file), (), str(error)))
            continue
        scores = np.asarray(net.predict_on_batch(pixels[None]))[0]
        best = np.argsort(-scores, kind="stable")[:top]
        answers.append(
            Answer(str(file), tuple((names[i], float(scores[i])) for i in best))
        )
    return answers


def _image_files(images: str, say: Say) -> list[pathlib.Path]:
    path = pathlib.Path(images)
    try:
        there, is_folder = path.exists(), path.is_dir()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(
            f"--images={images} cannot be read ({reason}); give an image "
            "file, or a folder of them."
        ) from error
    if not there or not images:
        raise DataError(
            f"--images={images} does not exist; give an image file, or a "
            "folder of them."
        )
    if not is_folder:
        return [path]
    try:
        listing = Listing.of(path)
    except OSError as error:
        raise DataError(
            f"--images={images} cannot be read ({error.strerror}); give "
            "another folder."
        ) from error
    files, listing.images = listing.images, []
    if not files:
        raise DataError(
            f"--images={images}: the folder holds no images "
            f"({', '.join(EXTENSIONS)}); give an image file, or a folder of "
            "them."
        )
    for line in listing.left_out(path, ""):
        say(line)
    return files


def _content(file: pathlib.Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{error.strerror}.") from error
