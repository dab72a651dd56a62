"""Data sets of TensorFlow Datasets (TFDS), prepared on disk.

Reading one needs only its files: neither the data set's code nor the network.
Images stay encoded (`SkipDecoding`) and are decoded by `pixel_path.decode`,
like those of a folder.
"""

import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from packnet_tf.data import scan_cache
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.sources import tfds_builder
from packnet_tf.data.sources.base import Progress, names_of_parts
from packnet_tf.data.sources.encoded import EncodedSource
from packnet_tf.data.sources.tfrecord import RecordFiles
from packnet_tf.errors import DataError


class TfdsSource(EncodedSource):
    """One split of a prepared data set.

    Args:
        builder: A TFDS builder of the prepared data set.
        split: The split in TFDS's notation, e.g. `"train+validation"`.
        preprocessing: How the images become the network's.
        keys: Names of the features `"image"`, `"label"` and, if there is
            one, `"box"`.
        progress: Called with the number of examples read and the total.
    """

    def __init__(
        self,
        builder: Any,
        split: str,
        preprocessing: Preprocessing,
        keys: Mapping[str, str],
        progress: Progress | None = None,
    ):
        from tensorflow_datasets import decode

        self.origin = f"{builder.info.full_name}[{split}]"
        features = builder.info.features
        self._image_key = keys["image"]
        self._decoders = {self._image_key: decode.SkipDecoding()}
        self._features = features
        instructions = _instructions(builder, split)
        self._files = [str(piece.filename) for piece in instructions]
        self._records = _records(builder, instructions)
        count = len(self._records)
        if not count:
            raise DataError(f"The data set {self.origin} has no examples.")
        labels, boxes = self._annotations(keys, progress)
        names = features[keys["label"]].names
        if labels.min() < 0:
            raise DataError(
                f"The data set {self.origin} has no labels; register a "
                "TaskEntry with splits that have them."
            )
        if labels.max() >= len(names):
            raise DataError(
                f"{self.describe(int(labels.argmax()))} has the label "
                f"{labels.max()}, but there are {len(names)} classes; "
                "prepare the data set again."
            )
        super().__init__(labels, names, preprocessing, boxes)

    def describe(self, index: int) -> str:
        return f"{self.origin}, example {index}"

    def encoded(self, index: int) -> bytes:
        return self._example(index)[self._image_key]

    def fingerprint(self):
        # An example may have several images.
        return scan_cache.fingerprint(
            self._files, self.origin, f"image={self._image_key}"
        )

    def _annotations(
        self, keys: Mapping[str, str], progress: Progress | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns labels and, if there are any, bounding boxes.

        They are stored beside the images, so every record is read once, and
        the result is cached.
        """
        wanted = {r: k for r, k in keys.items() if r != "image"}
        # Each feature has its own cache entry.
        what = [f"{role}={key}" for role, key in sorted(wanted.items())]
        memory = scan_cache.fingerprint(self._files, self.origin, *what)
        count = len(self._records)
        known = scan_cache.recall(memory) or {}
        if set(known) != set(wanted) or any(
            len(array) != count for array in known.values()
        ):
            known = {"label": np.zeros(count, np.int64)}
            if "box" in wanted:
                known["box"] = np.zeros((count, 4), np.float32)
            for i in range(count):
                example = self._example(i)
                for role, key in wanted.items():
                    known[role][i] = example[key]
                done = i + 1
                if progress is not None and (not done % 256 or done == count):
                    progress(done, count)
            scan_cache.remember(memory, known)
        return known["label"], known.get("box")

    def _example(self, index: int) -> Mapping[str, Any]:
        return self._features.deserialize_example_np(
            self._records[index], decoders=self._decoders
        )


def read_tfds(
    name: str,
    data_dir: str | pathlib.Path | None = None,
    *,
    splits: Mapping[str, str] | None = None,
    preprocessing: Preprocessing | None = None,
    image_key: str | None = None,
    label_key: str | None = None,
    progress: Progress | None = None,
) -> dict[str, TfdsSource]:
    """Opens a TFDS data set, downloading it if necessary.

    Args:
        name: `NAME[/CONFIG][:VERSION]`.
        data_dir: Folder of prepared data sets; by default the environment
            variable `TFDS_DATA_DIR`, or `~/tensorflow_datasets`.
        splits: The split of each part. By default `train`, `validation` and
            `test`; where there is no `test`, the `validation` stands in for
            it.
        preprocessing: How the images become the network's.
        image_key: Name of the image's feature; by default `image`, or the
            only one of its kind.
        label_key: Name of the label's feature, likewise.
        progress: Called with the number of examples read and the total.

    Returns:
        The sources by part, `"train"`, `"validation"` and `"test"`, where
        they exist.

    Raises:
        DataError: If it is unknown, can be neither found nor downloaded, or
            does not hold labelled images.
    """
    builder = tfds_builder.open_builder(name, data_dir)
    have = list(builder.info.splits)
    notes: list[str] = []
    if splits is None:
        wanted = names_of_parts(have, f"set tfds:{name}")
        if "test" not in wanted and "validation" in wanted:
            wanted["test"] = wanted.pop("validation")
            notes.append(
                f"tfds:{name} has no test split; its split {wanted['test']} "
                "stands in for it"
            )
    else:
        wanted = dict(splits)
    named = re.findall(r"\w+", " ".join(wanted.values()))
    unused = [split for split in have if split not in named]
    if wanted and unused:
        notes.append(
            f"{len(unused)} split(s) of tfds:{name} are left out: "
            f"{', '.join(unused)}"
        )
    if not wanted:
        raise DataError(
            f"The data set tfds:{name} has the splits {', '.join(have)}; "
            "expected train, test or validation: register a TaskEntry that "
            "names others."
        )
    keys = _keys(builder, {"image": image_key, "label": label_key})
    parts = {
        part: TfdsSource(
            builder,
            split,
            preprocessing or Preprocessing(),
            keys,
            progress,
        )
        for part, split in wanted.items()
    }
    _check_classes(name, parts)
    next(iter(parts.values())).notes = tuple(notes)
    return parts


def _keys(builder: Any, given: Mapping[str, str | None]) -> dict[str, str]:
    """Returns the names of the image, label and box features.

    Args:
        builder: The TFDS builder.
        given: The user's choices.
    """
    from tensorflow_datasets import features as kinds

    features = dict(builder.info.features.items())
    found: dict[str, str] = {}
    for role, kind, usual in (
        ("image", kinds.Image, "image"),
        ("label", kinds.ClassLabel, "label"),
        ("box", kinds.BBoxFeature, "bbox"),
    ):
        # Sorted: TFDS gives features in no fixed order.
        names = sorted(n for n, f in features.items() if isinstance(f, kind))
        wanted = given.get(role)
        if wanted is not None and wanted not in names:
            raise DataError(
                f"--{role}_key={wanted}: the data set "
                f"tfds:{builder.info.full_name} has no {kind.__name__} of "
                f"that name; it has {', '.join(names) or 'none at all'}."
            )
        if wanted is not None:
            found[role] = wanted
        elif usual in names:
            found[role] = usual
        elif len(names) == 1:
            found[role] = names[0]
        elif role != "box":
            raise DataError(
                f"The data set tfds:{builder.info.full_name} has the "
                f"features {', '.join(sorted(features))}; expected one "
                f"{kind.__name__}, or one named {usual!r}; name it with "
                f"--{role}_key."
            )
    pixels = features[found["image"]].np_dtype
    if pixels not in (np.uint8, np.uint16):
        raise DataError(
            f"The feature {found['image']!r} of the data set "
            f"tfds:{builder.info.full_name} holds {np.dtype(pixels).name} "
            "numbers; expected images of uint8 or uint16: name another with "
            "--image_key."
        )
    return found


def _instructions(builder: Any, split: str) -> Any:
    """Returns which records of which files make up a split."""
    try:
        return builder.info.splits[split].file_instructions
    except (KeyError, ValueError) as error:
        raise DataError(
            f"The data set tfds:{builder.info.full_name} has no split "
            f"{split!r}; it has {', '.join(builder.info.splits)}."
        ) from error


def _records(builder: Any, instructions: Any) -> Any:
    """Returns the serialized examples of `_instructions`, by number."""
    form = getattr(builder.info.file_format, "value", None)
    if form == "tfrecord":
        return RecordFiles(
            [(str(i.filename), i.skip, i.take) for i in instructions]
        )
    if form == "array_record":
        from array_record.python import array_record_data_source

        return array_record_data_source.ArrayRecordDataSource(instructions)
    raise DataError(
        f"The data set tfds:{builder.info.full_name} is stored as {form}; "
        "prepare it as tfrecord or array_record."
    )


def _check_classes(name: str, parts: Mapping[str, TfdsSource]) -> None:
    first = next(iter(parts.values()))
    classes = len(first.class_names)
    if classes < 2:
        raise DataError(
            f"The data set tfds:{name} has only one class; a task needs two "
            "or more."
        )
    empty = np.flatnonzero(np.bincount(first.labels, minlength=classes) == 0)
    if len(empty):
        raise DataError(
            f"Class {first.class_names[empty[0]]!r} of the data set "
            f"tfds:{name} has no images in {first.origin}."
        )
