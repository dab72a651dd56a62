"""The unlabelled images that the weights left by pruning are fitted on."""

import contextlib
import pathlib
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from packnet_tf.data import evaluation, open_task, registry
from packnet_tf.data.images.pixel_path import read_for_evaluation
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.images.transcode import EXTENSIONS
from packnet_tf.data.pipeline import evaluation_order
from packnet_tf.data.sources.base import Source
from packnet_tf.data.sources.listing import images_below
from packnet_tf.errors import DataError
from packnet_tf.workflow.datasets import Prepared

_BATCH = 32


def training_images(data: Prepared, number: int) -> tf.data.Dataset:
    """Returns some of a task's training images, not augmented, in batches.

    Their bytes decide which, so that they are the same in every run.

    Args:
        data: The task's data.
        number: How many, at most.
    """
    train = data.train
    how = train.cutter
    return _some(train.source, how.image_size, how.preprocessing, number)


def images_at(
    place: str,
    task: str,
    number: int,
    image_size: int,
    data_dir: str | None = None,
) -> tf.data.Dataset | np.ndarray:
    """Returns images of any place, prepared as a task's are.

    Args:
        place: A folder with image files at any depth, or what `open_task`
            reads, of which the training images are taken, or else those for
            tests.
        task: The task's name; a registered one has its own preprocessing.
        number: How many, at most; a fair sample.
        image_size: Height and width in pixels.
        data_dir: Folder of prepared TFDS data sets.

    Raises:
        DataError: If there are no images there, or one cannot be read.
    """
    folder = pathlib.Path(place)
    if not folder.is_dir():
        data = open_task(task, place, data_dir=data_dir)
        source = data.train if data.train is not None else data.test
        if source is None:
            raise DataError(f"--base_images={place} holds no images.")
        return _some(source, image_size, data.preprocessing, number)
    try:
        files = images_below(folder)
    except OSError as error:
        raise DataError(
            f"--base_images: {error.filename} cannot be read "
            f"({error.strerror}); give another folder, or leave the flag out."
        ) from error
    if not files:
        raise DataError(
            f"--base_images={place}: the folder holds no images "
            f"({', '.join(EXTENSIONS)}); give another, or leave the flag out."
        )
    entry = registry.find(task)
    how = Preprocessing() if entry is None else entry.preprocessing
    chosen = np.random.default_rng(0).permutation(len(files))[:number]
    images = []
    for file in (files[i] for i in chosen):
        try:
            content = file.read_bytes()
            images.append(read_for_evaluation(content, image_size, how))
        except (OSError, DataError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(
                f"--base_images: {file} cannot be read ({reason}); remove it."
            ) from error
    return np.stack(images)


@contextlib.contextmanager
def saying_warnings(say: Callable[[str], None]) -> Iterator[None]:
    """Prints warnings as lines of progress, without a place in the code."""
    with warnings.catch_warnings(record=True) as found:
        # Those that libraries give their developers are not for users.
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", UserWarning)
        yield
    for one in found:
        say(f"  note: {one.message}")


def _some(
    source: Source,
    image_size: int,
    preprocessing: Preprocessing,
    number: int,
) -> tf.data.Dataset:
    chosen = np.sort(evaluation_order(source)[:number])
    return evaluation(source.subset(chosen), image_size, _BATCH, preprocessing)
