"""A workdir that several workers read, and their chief alone writes.

The workers run the same program. Where one of them would do something else
than the others, because it was started in another way or sees other files, it
would wait for them for ever, so this is found out at the start.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from packnet_tf.errors import DataError, StateError
from packnet_tf.model import workers
from packnet_tf.storage import checkpoints
from packnet_tf.storage.workdir import Workdir
from packnet_tf.tf_internals.workers import are_several
from packnet_tf.workflow.datasets import Prepared

# Seconds for which a network file system may go on showing old folders.
_PATIENCE = 90.0


@contextlib.contextmanager
def writing(
    workdir: Workdir, strategy: tf.distribute.Strategy
) -> Iterator[bool]:
    """Waits for all workers, then makes the chief the workdir's one writer.

    So nothing is written if one of them refuses to run.

    Args:
        workdir: The workdir.
        strategy: The strategy.

    Yields:
        Whether this process is the chief.

    Raises:
        StateError: If another process holds the lock.
    """
    workers.meet(strategy)
    if not workers.is_chief(strategy):
        yield False
        return
    with workdir.lock():
        yield True


def look_again(
    workdir: Workdir,
    strategy: tf.distribute.Strategy,
    *,
    training: bool = True,
) -> None:
    """Waits until every worker sees the workdir as the chief does.

    Args:
        workdir: The workdir.
        strategy: The strategy.
        training: Whether to look at the task in training too.

    Raises:
        StateError: On all workers, if one of them sees other files.
    """
    if not are_several(strategy):
        return
    chiefs = workers.chiefs(strategy, _view_of(workdir, training))
    end = time.monotonic() + _PATIENCE
    while not (same := np.array_equal(_view_of(workdir, training), chiefs)):
        if time.monotonic() > end:
            break
        time.sleep(0.5)
    if not workers.agree(strategy, str(same).encode()):
        raise StateError(
            f"{workdir.path}: not every worker sees there what the chief has "
            "written; give a folder that all machines share as --workdir, "
            "and start all workers again."
        )


def _view_of(workdir: Workdir, training: bool) -> np.ndarray:
    record = None
    if training:
        record = checkpoints.read_record(workdir.training_path)
    return workers.digest(
        repr(
            (
                workdir.run,
                [folder.name for folder in workdir.state_folders()],
                None if record is None else record.to_dict(),
            )
        ).encode()
    )


def check_options(strategy: tf.distribute.Strategy, *options: Any) -> None:
    """Refuses workers that were started with different options.

    Args:
        strategy: The strategy.
        *options: Records of options.

    Raises:
        PackNetError: If they differ.
    """
    workers.refuse_differing(
        strategy,
        repr(options).encode(),
        "their options",
        "start all of them with the same flags",
    )


def check_images(strategy: tf.distribute.Strategy, data: Prepared) -> None:
    """Refuses images that cannot be divided among the replicas.

    Args:
        strategy: The strategy.
        data: A task's data.

    Raises:
        DataError: If a split has fewer images than there are replicas.
        PackNetError: If the workers read different images.
    """
    replicas = strategy.num_replicas_in_sync
    for name in ("validation", "test"):
        count = getattr(data.facts, name)
        if 0 < count < replicas:
            raise DataError(
                f"Task {data.name!r} has {count} {name} image(s), fewer than "
                f"the {replicas} replicas, each of which needs one; give more "
                "images, or use fewer replicas or workers."
            )
    workers.refuse_differing(
        strategy,
        data.train.source.ids.tobytes(),
        "the images that they read",
        "give all of them the same --data",
    )
