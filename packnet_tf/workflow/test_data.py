"""Finds the test split of a packed task, and has the task answer on it."""

import keras
import numpy as np
import tensorflow as tf

from packnet_tf import data
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.integrity import find_bad, without_bad
from packnet_tf.data.pipeline import CACHE_BYTES
from packnet_tf.data.sources.base import Source
from packnet_tf.errors import (
    DataError,
    PackNetError,
    StateError,
    first_line,
)
from packnet_tf.storage.manifest import PackedTask
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow import metrics


def image_size_of(workdir: Workdir) -> int:
    """Returns height and width of a workdir's images, in pixels.

    Raises:
        StateError: If the workdir lacks its `run.json`.
    """
    run = workdir.run
    if run is None:
        raise StateError(
            f"{workdir.run_path} is missing; restore it from a copy."
        )
    return run.image_size


def find(
    record: PackedTask, place: str | None = None, data_dir: str | None = None
) -> tuple[Source | None, str]:
    """Returns a task's test split, or None and the reason.

    Args:
        record: The task's record.
        place: Where its data is; by default the data it was trained on.
        data_dir: Folder of prepared TFDS data sets.

    Returns:
        The images and an empty text; or None and e.g. `"no test split"`, or
        `"not read: "` and what is wrong with the data.

    Raises:
        DataError: If there is nothing at `place`, or data of other classes.
    """
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
    except PackNetError as error:
        if place is not None:
            raise
        # Other tasks are evaluated nonetheless.
        return None, f"not read: {first_line(error).rstrip('.')}"
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


def batches(
    record: PackedTask,
    test: Source,
    image_size: int,
    batch_size: int,
    cache_bytes: int = CACHE_BYTES,
) -> tf.data.Dataset:
    """Returns a task's test images as the task sees them.

    Args:
        record: The task's record.
        test: Its test split.
        image_size: Height and width of the network's images, in pixels.
        batch_size: Images of a batch.
        cache_bytes: Memory that the images may take.

    Returns:
        Batches as those of `data.evaluation`.
    """
    return data.evaluation(
        test,
        image_size,
        batch_size,
        preprocessing=preprocessing_of(record, test),
        cache_bytes=cache_bytes,
    )


def preprocessing_of(record: PackedTask, test: Source) -> Preprocessing:
    """Returns how a task's test images become the network's inputs."""
    facts = record.data_facts
    return Preprocessing.from_facts(facts) if facts else test.preprocessing


def scores(
    net: keras.Model, images: tf.data.Dataset, test: Source
) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels and scores of test images.

    Args:
        net: The network, with the task active.
        images: What `batches` returned.
        test: The same images, to name one that cannot be read.

    Returns:
        Class numbers of shape [images], and scores of shape [images,
        classes].

    Raises:
        DataError: Naming an image that cannot be read.
    """
    try:
        return metrics.scores(net, images)
    except tf.errors.OpError:
        # Most likely an unreadable image, which this names.
        for unreadable in find_bad(test).values():
            raise unreadable from None
        raise
