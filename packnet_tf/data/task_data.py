"""The way from a task's name to its data."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from packnet_tf.data import registry
from packnet_tf.data.catalog import TaskEntry
from packnet_tf.data.facts import DataFacts
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.sources import bundled, python_data, tfds_builder
from packnet_tf.data.sources.arrays import read_npz
from packnet_tf.data.sources.base import (
    PARTS,
    Progress,
    Source,
    select_classes,
)
from packnet_tf.data.sources.folder import read_folder
from packnet_tf.errors import DataError
from packnet_tf.options.data import CROPS, TFDS, task_name

_KINDS = "FOLDER, FILE.npz, tfds:NAME or bundled:NAME"


@dataclasses.dataclass(frozen=True)
class TaskData:
    """A task's data, opened.

    Attributes:
        name: The task's name.
        class_names: Names in the order of the labels.
        train: Training images, or None if there are none.
        test: Test images, or None.
        facts: What a manifest records of the data.
        validation: The data's own validation images, or None: then they are
            taken from the training images.
    """

    name: str
    class_names: tuple[str, ...]
    train: Source | None
    test: Source | None
    facts: DataFacts
    validation: Source | None = None

    @property
    def parts(self) -> dict[str, Source]:
        """The sources that there are, by part."""
        sources = {part: getattr(self, part) for part in PARTS}
        return {part: s for part, s in sources.items() if s is not None}

    @property
    def notes(self) -> list[str]:
        """Lines for the user about how the data was read."""
        found = []
        if self.train is not None and self.validation is not None:
            found.append(
                f"validation: the {len(self.validation)} images of "
                f"{self.validation.origin}, none of the training images"
            )
        return found + [n for s in self.parts.values() for n in s.notes]

    def without_validation(self) -> "TaskData":
        """Returns the same data without validation images of its own."""
        facts = dataclasses.replace(self.facts, validation_from=None)
        return dataclasses.replace(self, validation=None, facts=facts)

    @property
    def preprocessing(self) -> Preprocessing:
        """How its images become the network's."""
        return self.facts.preprocessing

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


def open_task(
    name: str,
    data: Any = None,
    *,
    data_dir: str | pathlib.Path | None = None,
    crop: str | None = None,
    image_key: str | None = None,
    label_key: str | None = None,
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> TaskData:
    """Opens the data of a task.

    Args:
        name: The task's name. If it is registered, its preprocessing is
            used (without its bounding boxes where the data has none; see
            `Preprocessing.unboxed`), and its data unless `data` is given.
            Any other data set of TFDS is a task by its own name, or by
            `tfds:NAME[/CONFIG][:VERSION]`.
        data: An image folder (`PATH/{train,val,test}/CLASS/*.jpg`), a `.npz`
            file in Keras's layout, `tfds:NAME[/CONFIG][:VERSION]` or
            `bundled:NAME`; or what `python_data.read_python` takes. It
            brings its own classes.
        data_dir: Folder of prepared TFDS data sets.
        crop: `"bbox"` cuts images to their bounding boxes and squashes them,
            `"none"` does not; by default as the registered task does.
        image_key: TFDS feature of the image, by default `"image"`.
        label_key: TFDS feature of the label, by default `"label"`.
        preprocessing: In place of the registered task's and of `crop`.
        class_names: Names in the order of the labels, for data of a Python
            program, which has none.
        progress: Called with the number of examples done and of all, where
            opening has to read them (TFDS).

    Returns:
        The task's data. Folders may have only a test part. `reopen` opens
        the same data again, from the facts.

    Raises:
        DataError: If the task is unknown, or its data missing or unusable.

    Example:

    >>> birds = open_task("birds", "data/birds")
    >>> birds.classes, len(birds.train), len(birds.test)
    (36, 1078, 1080)
    """
    if crop is not None and crop not in CROPS:
        raise DataError(f"--crop={crop}: expected one of {', '.join(CROPS)}.")
    if data is None and name.startswith(TFDS):
        data = name
    name = task_name(name)
    entry = registry.find(name)
    if data is None and entry is None:
        # Any data set of TFDS is a task by its own name.
        data = tfds_builder.data_set_of(name, data_dir)
    if data is None:
        if entry is None:
            raise DataError(
                f"{registry.unknown(name)} For a task of your own add "
                f"--data={_KINDS}."
            )
        if not entry.data:
            raise registry.no_data(entry)
        data = entry.data
    if preprocessing is None:
        wanted = entry.preprocessing if entry is not None else None
        preprocessing = _cropped(wanted, crop)
    opened = _open(
        name,
        data,
        entry,
        preprocessing,
        class_names,
        data_dir=data_dir,
        image_key=image_key,
        label_key=label_key,
        progress=progress,
    )
    if crop == "bbox" and not opened.preprocessing.box:
        first = next(iter(opened.parts.values()))
        raise DataError(
            f"--crop=bbox: {first.origin} has no bounding boxes; leave the "
            "flag out, or give data that has them."
        )
    return opened


def reopen(
    name: str,
    facts: Mapping[str, Any],
    *,
    data: Any = None,
    data_dir: str | pathlib.Path | None = None,
) -> TaskData:
    """Opens the data that a manifest describes, to the same pixels.

    Args:
        name: The task's name.
        facts: What the manifest has of `TaskData.facts`.
        data: Where the data is now, if not where it was.
        data_dir: Folder of prepared TFDS data sets.

    Raises:
        DataError: As `open_task`.
    """
    where = data if data is not None else facts.get("data")
    same = data is None or _same_set(data, facts.get("data"))
    if "registered" not in facts:  # Older manifests.
        entry = registry.find(name)
    else:
        known = facts["registered"]
        entry = None if known is None else TaskEntry.from_json(name, known)
    return _open(
        task_name(name),
        where,
        entry,
        Preprocessing.from_facts(facts),
        data_dir=data_dir,
        image_key=facts.get("image_key") if same else None,
        label_key=facts.get("label_key") if same else None,
    )


def _open(
    name: str,
    data: Any,
    entry: TaskEntry | None,
    preprocessing: Preprocessing | None,
    class_names: Sequence[str] | None = None,
    *,
    image_key: str | None,
    label_key: str | None,
    **options: Any,
) -> TaskData:
    """Opens data as `open_task` does, for a task of that entry."""
    keys = {"image_key": image_key, "label_key": label_key}
    keys = {key: value for key, value in keys.items() if value}
    of_tfds = isinstance(data, str) and data.startswith(TFDS)
    if keys and not of_tfds:
        key, value = next(iter(keys.items()))
        raise DataError(
            f"--{key}={value}: only data of TFDS has features to choose from; "
            "leave the flag out."
        )
    given = entry if entry and _same_set(data, entry.data) else None
    where, kind, parts = _parts(
        name,
        data,
        given,
        preprocessing,
        class_names,
        image_key=image_key or (given.image_key if given else None),
        label_key=label_key or (given.label_key if given else None),
        **options,
    )
    if entry is not None and entry.labels:
        parts = {
            part: select_classes(source, entry.labels, name)
            for part, source in parts.items()
        }
    first = next(iter(parts.values()))
    return TaskData(
        name,
        first.class_names,
        parts.get("train"),
        parts.get("test"),
        DataFacts(
            where,
            kind,
            first.preprocessing,
            train_from=_origin(parts.get("train")),
            validation_from=_origin(parts.get("validation")),
            test_from=_origin(parts.get("test")),
            image_key=image_key or None,
            label_key=label_key or None,
            registered=None if entry is None else entry.to_json(),
        ),
        parts.get("validation"),
    )


def _origin(source: Source | None) -> str | None:
    return None if source is None else source.origin


def _same_set(one: Any, other: Any) -> bool:
    """Returns whether two places are one, or one set of TFDS in any version."""
    if not isinstance(one, str) or not isinstance(other, str):
        return False
    if not (one.startswith(TFDS) and other.startswith(TFDS)):
        return one == other
    name, other_name = (place.split(":")[1] for place in (one, other))
    return name == other_name


def _cropped(
    chosen: Preprocessing | None, crop: str | None
) -> Preprocessing | None:
    """Returns a task's preprocessing, with what `--crop` changes of it."""
    if crop is None:
        return chosen
    if crop == "none":
        return None if chosen is None else chosen.unboxed()
    return dataclasses.replace(
        chosen or Preprocessing(),
        resize="squash",
        crop="none",
        box=True,
    )


def _parts(
    name: str,
    data: Any,
    entry: TaskEntry | None,
    preprocessing: Preprocessing | None,
    class_names: Sequence[str] | None,
    **options: Any,
) -> tuple[str | None, str, Mapping[str, Source]]:
    """Returns where the data is, its kind, and its sources by part."""
    if not isinstance(data, str | pathlib.Path):
        parts = python_data.read_python(data, name, preprocessing, class_names)
        return None, "python", parts
    if class_names is not None:
        raise DataError(
            f"The data of task {name!r}, {data}, has class names of its own; "
            "leave class_names out."
        )
    where = str(data)
    if not where:
        raise DataError(f"The data of task {name!r} is empty; give {_KINDS}.")
    kind, _, rest = where.partition(":")
    if kind == "bundled":
        return where, kind, bundled.read_bundled(rest, preprocessing)
    if kind == "tfds":
        # TFDS takes seconds to import, which no other data should wait for.
        from packnet_tf.data.sources.tfds import read_tfds

        splits = entry.splits if entry is not None else None
        return (
            where,
            kind,
            read_tfds(
                rest, splits=splits, preprocessing=preprocessing, **options
            ),
        )
    with contextlib.suppress(OSError, RuntimeError):
        # A path that cannot be resolved is refused, by name, when it is read.
        where = str(pathlib.Path(where).expanduser().resolve())
    if where.lower().endswith(".npz") and not os.path.isdir(where):
        return where, "npz", read_npz(where, preprocessing)
    return where, "folder", read_folder(where, preprocessing)
