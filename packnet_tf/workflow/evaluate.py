"""Computes the accuracies of all packed tasks, and one task's predictions."""

import dataclasses
import pathlib
from collections.abc import Collection, Mapping

import numpy as np
import tensorflow as tf

from packnet_tf import data
from packnet_tf.data.images.pixel_path import read_for_evaluation
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.integrity import find_bad, without_bad
from packnet_tf.data.sources.folder import image_files
from packnet_tf.errors import DataError, PackNetError, StateError, TaskError
from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.metrics import (
    ClassScore,
    answers,
    by_class,
    share_right,
)


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
    size = _image_size(workdir)
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
            test, note = _test_of(record, places.get(task.name), data_dir)
        share = count = None
        classes: tuple[ClassScore, ...] = ()
        if test is not None:
            net.activate(task.name)
            images = data.evaluation(
                test,
                size,
                batch_size,
                preprocessing=_preprocessing_of(record, test),
            )
            labels, answered = _answers(net, images, test)
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
                _content(file), _image_size(workdir), preprocessing
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


def _answers(net, images, test) -> tuple[np.ndarray, np.ndarray]:
    try:
        return answers(net, images)
    except tf.errors.OpError:
        # Most likely an unreadable image, which this names.
        for unreadable in find_bad(test).values():
            raise unreadable from None
        raise


def _image_size(workdir: Workdir) -> int:
    run = workdir.run
    if run is None:
        raise StateError(
            f"{workdir.run_path} is missing; restore it from a copy."
        )
    return run.image_size


def _test_of(record, place, data_dir):
    """Returns a task's test source, or None and the reason."""
    facts = record.data_facts
    where = place or facts.get("data")
    if where is None:
        return None, "no data"
    try:
        opened = (
            data.reopen(record.name, facts, data=place, data_dir=data_dir)
            if facts
            else data.open_task(record.name, where, data_dir=data_dir)
        )
    except PackNetError:
        if place is not None:
            raise
        return None, f"no data at {where}"
    if opened.test is None:
        return None, "no test split"
    if opened.classes != record.classes:
        raise DataError(
            f"{where} has {opened.classes} classes, but task "
            f"{record.name!r} has {record.classes}; give its own data "
            f"with --data={record.name}=PATH."
        )
    names = record.class_names
    if names is not None and list(opened.class_names) != list(names):
        wrong = next(
            a for a, b in zip(opened.class_names, names, strict=True) if a != b
        )
        raise DataError(
            f"{where} has a class {wrong!r} that task {record.name!r} has "
            "not at that place; give the data of the same classes with "
            f"--data={record.name}=PATH."
        )
    if facts.get("skipped"):
        # Unreadable images are skipped, as in training.
        return without_bad(opened.test), ""
    return opened.test, ""


def _preprocessing_of(record, test) -> Preprocessing:
    facts = record.data_facts
    return Preprocessing.from_facts(facts) if facts else test.preprocessing
