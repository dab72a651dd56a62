"""The registry of tasks, and the way from a task's name to its data."""

import dataclasses
import difflib
import pathlib
from collections.abc import Mapping
from typing import Any

from packnet_tf.data import bundled, images
from packnet_tf.data.arrays import read_npz
from packnet_tf.data.folder import read_folder
from packnet_tf.data.sources import Progress, Source
from packnet_tf.errors import DataError

_KINDS = "FOLDER, FILE.npz, tfds:NAME or bundled:NAME"


@dataclasses.dataclass(frozen=True)
class TaskEntry:
    """A task that is known by name.

    Attributes:
        name: The task's name.
        data: Where its data is, in the words of `open_task`.
        train: TFDS split to train on, e.g. `"train+validation"`.
        test: TFDS split to evaluate on.
        preprocessing: How its images become the network's.

    Example:

    >>> register(TaskEntry(
    ...     "pets", "tfds:oxford_iiit_pet", train="train", test="test"))
    """

    name: str
    data: str
    train: str = "train"
    test: str = "test"
    preprocessing: images.Preprocessing = images.Preprocessing()


@dataclasses.dataclass(frozen=True)
class TaskData:
    """A task's data, opened.

    Attributes:
        name: The task's name.
        class_names: Names in the order of the labels.
        train: Training images, or None if there are none.
        test: Test images, or None.
        preprocessing: How its images become the network's.
        facts: What a manifest records of the data, JSON-able.
    """

    name: str
    class_names: tuple[str, ...]
    train: Source | None
    test: Source | None
    preprocessing: images.Preprocessing
    facts: dict[str, Any]

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


# Cut to the bounding box, squashed, mirrored: the paper's CUBS and Cars.
_CUT = images.Preprocessing(resize="squash", crop="none", box=True)

# The splits and preprocessing of the paper's experiments.
_PAPER = (
    TaskEntry("imagenet", "tfds:imagenet2012", test="validation"),
    TaskEntry("cubs", "tfds:caltech_birds2011", preprocessing=_CUT),
    TaskEntry("cars", "tfds:cars196", preprocessing=_CUT),
    TaskEntry("flowers", "tfds:oxford_flowers102", train="train+validation"),
)

_REGISTRY: dict[str, TaskEntry] = {entry.name: entry for entry in _PAPER}


def register(entry: TaskEntry) -> None:
    """Makes a task known by name; a known one of that name is replaced.

    Args:
        entry: The task.
    """
    _REGISTRY[entry.name] = entry


def registered() -> Mapping[str, TaskEntry]:
    """Returns the known tasks by name."""
    return dict(_REGISTRY)


def open_task(
    name: str,
    data: str | pathlib.Path | None = None,
    *,
    data_dir: str | pathlib.Path | None = None,
    progress: Progress | None = None,
) -> TaskData:
    """Opens the data of a task.

    Args:
        name: The task's name. If it is registered, its preprocessing is
            used (without its bounding boxes where the data has none; see
            `Preprocessing.unboxed`), and its data unless `data` is given.
        data: An image folder (`PATH/{train,test}/CLASS/*.jpg`), a `.npz`
            file in Keras's layout, `tfds:NAME` or `bundled:NAME`. It brings
            its own classes.
        data_dir: Folder of prepared TFDS data sets.
        progress: Called with the number of examples done and of all, where
            opening has to read them (TFDS).

    Returns:
        The task's data. Folders may have a test part alone. To open the same
        data again, pass `facts["data"]`.

    Raises:
        DataError: If the task is unknown, or its data missing or unusable.

    Example:

    >>> birds = open_task("birds", "data/birds")
    >>> birds.classes, len(birds.train), len(birds.test)
    (36, 1078, 1080)
    """
    entry = _REGISTRY.get(name)
    if data is not None:
        where = str(data)
    elif entry is not None:
        where = entry.data
    else:
        raise DataError(_unknown(name))
    if not where:
        raise DataError(f"The data of task {name!r} is empty; give {_KINDS}.")
    wanted = entry.preprocessing if entry else None
    splits = None
    if entry is not None and where == entry.data:
        splits = (entry.train, entry.test)
    kind, _, rest = where.partition(":")
    parts: Mapping[str, Source]
    if kind == "bundled":
        parts = bundled.read_bundled(rest, wanted)
    elif kind == "tfds":
        # TFDS takes seconds to import, which no other data should wait for.
        from packnet_tf.data.tfds import read_tfds

        parts = read_tfds(
            rest,
            data_dir,
            splits=splits,
            preprocessing=wanted,
            progress=progress,
        )
    else:
        where = str(pathlib.Path(where).expanduser().resolve())
        if where.endswith(".npz"):
            kind, parts = "npz", read_npz(where, wanted)
        else:
            kind, parts = "folder", read_folder(where, wanted)
    first = next(iter(parts.values()))
    return TaskData(
        name,
        first.class_names,
        parts.get("train"),
        parts.get("test"),
        first.preprocessing,
        {
            "data": where,
            "kind": kind,
            **{f"{part}_from": s.origin for part, s in parts.items()},
            **first.preprocessing.to_facts(),
            **images.PIXEL_FACTS,
        },
    )


def _unknown(name: str) -> str:
    known = sorted(_REGISTRY)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = (
        f"did you mean {' or '.join(close)}?"
        if close
        else f"known are {', '.join(known)}."
    )
    return (
        f"Unknown task {name!r}: {hint} For a task of your own add "
        f"--data={_KINDS}."
    )
