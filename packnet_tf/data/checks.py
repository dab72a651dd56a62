"""All that can be wrong with a task's images, found before training."""

import sys

import numpy as np
import tensorflow as tf

from packnet_tf.data import pipeline
from packnet_tf.data.sources import EncodedSource, Progress, Source
from packnet_tf.data.tasks import TaskData
from packnet_tf.errors import DataError

# Images between two reports of progress.
_CHUNK = 64


def check(
    data: TaskData,
    batch_size: int | None = None,
    *,
    train: bool = True,
    progress: Progress | None = None,
) -> None:
    """Reads every image of a task once, whole, and stops at a bad one.

    Args:
        data: The opened task.
        batch_size: Images of a training batch; there must be as many.
        train: Whether training images are needed; without, only what is
            there is checked.
        progress: Called with the number of images done and of all, e.g.
            `progress_bar("checking")`.

    Raises:
        DataError: Naming the image that is corrupt, or what is missing.
    """
    if train and data.train is None:
        raise DataError(
            f"The data of task {data.name!r} has no training images: "
            f"{data.facts['data']} holds a test part alone."
        )
    if batch_size is not None and data.train is not None:
        pipeline.check_batch(len(data.train), batch_size)
    parts = [part for part in (data.train, data.test) if part is not None]
    total = sum(len(part) for part in parts)
    done = 0
    for part in parts:

        def report(count, _, done=done):
            if progress is not None:
                progress(done + count, total)

        check_source(part, report)
        done += len(part)


def check_source(source: Source, progress: Progress | None = None) -> None:
    """Decodes every image of a source.

    Args:
        source: The images.
        progress: Called with the number of images done and of all.

    Raises:
        DataError: Naming the image that is corrupt or truncated.
    """
    source.scan()
    if not isinstance(source, EncodedSource):
        return
    sides = _sides(source, np.arange(len(source))).batch(_CHUNK).prefetch(1)
    done = 0
    try:
        for chunk in sides:
            done += len(chunk)
            if progress is not None:
                progress(done, len(source))
    except tf.errors.OpError as error:
        # Chunks arrive in order: the bad image is in the next one.
        for index in range(done, min(done + _CHUNK, len(source))):
            try:
                next(iter(_sides(source, np.array([index]))))
            except tf.errors.OpError:
                break
        raise DataError(
            f"{source.describe(index)}: the image is corrupt or truncated; "
            "replace or remove it."
        ) from error


def _sides(source: Source, indices: np.ndarray) -> tf.data.Dataset:
    """Decodes images for nothing but their height and width."""
    return source.decoded(indices).map(lambda image: tf.shape(image)[:2])


def progress_bar(title: str) -> Progress:
    """Returns a progress callback that draws a bar on a terminal.

    Args:
        title: What the line begins with.
    """
    terminal = sys.stderr.isatty()

    def show(done: int, total: int) -> None:
        if terminal:
            filled = 20 * done // max(total, 1)
            bar = "=" * filled + "." * (20 - filled)
            end = "\n" if done >= total else ""
            sys.stderr.write(f"\r  {title} [{bar}] {done}/{total}{end}")
            sys.stderr.flush()

    return show
