"""Checks all images of a task before training."""

import contextlib
import dataclasses
import itertools
import os
import sys
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from packnet_tf.data import pipeline, scan_cache
from packnet_tf.data.images.preprocessing import PERMUTED_SIDE
from packnet_tf.data.images.transcode import CORRUPT
from packnet_tf.data.sources.base import (
    PARALLEL,
    DecodedSource,
    Progress,
    Source,
)
from packnet_tf.data.sources.encoded import EncodedSource, Scanned
from packnet_tf.data.task_data import TaskData
from packnet_tf.errors import DataError
from packnet_tf.tf_internals.datasets import without_autotune

# Images between two reports of progress.
_CHUNK = 64

# How many skipped files are named.
_SHOWN = 20


def check(
    data: TaskData,
    batch_size: int | None = None,
    *,
    train: bool = True,
    skip_corrupt: bool = False,
    say: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> TaskData:
    """Decodes every image of a task once, and refuses bad ones.

    The result is cached: unchanged files are not read again.

    Args:
        data: The opened task.
        batch_size: Images per training batch; there must be at least as
            many.
        train: Whether training images are required.
        skip_corrupt: Whether to leave bad images out instead.
        say: Prints a line about how the data was read, or about images that
            are left out or in two parts.
        progress: Called with the number of images done and the total, e.g.
            by `console.bar`.

    Returns:
        The task, without the images that were left out.

    Raises:
        DataError: Naming a corrupt image, or what is missing.
    """
    say = say or (lambda line: None)
    if train and data.train is None:
        raise DataError(
            f"The data of task {data.name!r} has no training images: "
            f"{data.facts.data} holds only a test part."
        )
    if batch_size is not None and data.train is not None:
        pipeline.check_batch(len(data.train), batch_size)
    for line in data.notes:
        say(line)
    parts = data.parts
    total = sum(map(len, parts.values()))
    done = 0
    skipped: list[str] = []
    for name, part in parts.items():

        def report(count, _, done=done):
            if progress is not None:
                progress(done + count, total)

        bad = find_bad(part, report)
        if bad and not skip_corrupt:
            first = next(iter(bad.values()))
            raise DataError(
                f"{first} Or leave out such images with --skip_corrupt."
            ) from first
        done += len(part)
        if bad:
            skipped += [part.describe(i) for i in bad]
            parts[name] = _without(part, bad)
    checked = dataclasses.replace(
        data,
        train=parts.get("train"),
        validation=parts.get("validation"),
        test=parts.get("test"),
    )
    if skipped:
        _say_skipped(skipped, say)
        checked = dataclasses.replace(
            checked,
            facts=dataclasses.replace(data.facts, skipped=tuple(skipped)),
        )
        if batch_size is not None and checked.train is not None:
            pipeline.check_batch(len(checked.train), batch_size)
    _say_duplicates(checked, say)
    return checked


def find_bad(
    source: Source, progress: Progress | None = None
) -> dict[int, DataError]:
    """Returns an error for each unusable image, by place.

    Args:
        source: The images.
        progress: Called with the number of images done and the total.
    """
    files, places = source.base()
    if isinstance(files, DecodedSource):
        if source.preprocessing.permutation is not None:
            shapes = [files.array(i).shape[:2] for i in places.tolist()]
            _check_permuted(source, np.array(shapes))
        return {}
    if not isinstance(files, EncodedSource):
        return {}
    key = files.fingerprint()
    known = None if key is None else scan_cache.recall(key)
    if known is not None and len(known["ids"]) == len(files):
        files.know(Scanned.from_arrays(known))
        if progress is not None:
            progress(len(source), len(source))
    else:
        _decode(files, files.survey(), progress)
        if key is not None and not files.unread:
            scan_cache.remember(key, files.survey().to_arrays())
    found = files.survey()
    bad = found.bad
    good = np.array([i for i in places if i not in bad], np.int64)
    _check_permuted(source, np.asarray(found.sides)[good])
    return {
        at: files.error(int(i), bad[int(i)])
        for at, i in enumerate(places)
        if int(i) in bad
    }


def without_bad(source: Source) -> Source:
    """Returns the usable images of a source.

    Args:
        source: Images, some of which may be corrupt.

    Raises:
        DataError: If a class has none left.
    """
    bad = find_bad(source)
    return _without(source, bad) if bad else source


def _decode(
    files: EncodedSource, scanned: Scanned, progress: Progress | None
) -> None:
    """Decodes all files, recording their sides and which are bad."""
    count = len(files)
    places = np.array([i for i in range(count) if i not in scanned.bad])
    sides = np.zeros((count, 2), np.int32)
    load = files.load_op(places.astype(np.int64))
    decoded = (
        tf.data.Dataset.from_tensor_slices(places.astype(np.int64))
        .map(
            lambda index: (index, tf.shape(load(index))[:2]),
            num_parallel_calls=PARALLEL,
            deterministic=False,
        )
        .ignore_errors()
        .batch(_CHUNK)
        .prefetch(1)
    )
    done = len(scanned.bad)
    with no_errors_shown():
        for indices, found in without_autotune(decoded):
            sides[indices.numpy()] = found.numpy()
            done += len(indices)
            if progress is not None:
                progress(done, count)
    for index in places.tolist():
        if not sides[index].any():
            scanned.bad[index] = CORRUPT
    if progress is not None and done < count:
        progress(count, count)
    scanned.sides = sides


@contextlib.contextmanager
def no_errors_shown() -> Iterator[None]:
    """Hides the decoders' own messages.

    The JPEG and TIFF libraries write directly to the process's stderr and name
    no file, as the raised error does.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


def _without(source: Source, bad: dict[int, DataError]) -> Source:
    """Returns the images of a source that are not bad, some of each class."""
    left = source.subset(
        np.array([i for i in range(len(source)) if i not in bad], np.int64)
    )
    for label in np.setdiff1d(source.labels, left.labels):
        raise DataError(
            f"Class {source.class_names[label]!r} of {source.origin} has no "
            "readable image; add some, or remove the class."
        )
    return left


def _check_permuted(source: Source, sides: np.ndarray) -> None:
    if source.preprocessing.permutation is None:
        return
    side = PERMUTED_SIDE
    for height, width in np.unique(sides, axis=0).tolist():
        if (height, width) != (side, side):
            raise DataError(
                f"The data {source.origin} has images of {height} x {width} "
                f"pixels; expected {side} x {side}, since pixels are permuted."
            )


def _say_skipped(skipped: list[str], say: Callable[[str], None]) -> None:
    say(f"{len(skipped)} image(s) cannot be read and are left out:")
    for name in skipped[:_SHOWN]:
        say(f"  {name}")
    if len(skipped) > _SHOWN:
        say(f"  and {len(skipped) - _SHOWN} more; the manifest names all")


def _say_duplicates(data: TaskData, say: Callable[[str], None]) -> None:
    """Warns of images that are in two parts."""
    for (one, a), (other, b) in itertools.combinations(data.parts.items(), 2):
        both, in_a, in_b = np.intersect1d(a.ids, b.ids, return_indices=True)
        if len(both):
            say(
                f"warning: {len(both)} image(s) are in both {one} and {other}, "
                f"e.g. {a.describe(int(in_a[0]))} and "
                f"{b.describe(int(in_b[0]))}; the {other} accuracy will be too "
                "high."
            )
