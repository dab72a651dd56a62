"""The tasks that the package knows by name, with a small entry for each.

They are those of the paper and of later work. An entry says where the data
is, which splits to use, and how to preprocess the images; what the data itself
tells (classes, their names) is not repeated here. The numbers of classes and
images are only for `--list_tasks`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.errors import DataError
from packnet_tf.options.data import NUMBERED, TFDS


@dataclasses.dataclass(frozen=True)
class TaskEntry:
    """A task known by name.

    Attributes:
        name: The task's name.
        data: Its data, as `open_task` takes it; empty if the user must give
            an image folder.
        train: TFDS split to train on, e.g. `"train+validation"`.
        test: TFDS split to evaluate on; empty if there is none.
        preprocessing: How its images become the network's.
        image_key: TFDS feature of the image, where it is not `"image"`.
        label_key: TFDS feature of the label, where it is not `"label"`.
        labels: The labels of the data that belong to the task, in order;
            empty for all.
        classes: Number of classes, if known.
        counts: Numbers of training and test images, if known.
        needs: What the user must get or do first.
        validation: TFDS split to validate on; empty to take a share of the
            training images.

    Example:

    >>> register(TaskEntry(
    ...     "pets", "tfds:oxford_iiit_pet", train="train", test="test"))
    """

    name: str
    data: str
    train: str = "train"
    test: str = "test"
    preprocessing: Preprocessing = Preprocessing()
    image_key: str | None = None
    label_key: str | None = None
    labels: tuple[int, ...] = ()
    classes: int | None = None
    counts: tuple[int, int] | None = None
    needs: str = ""
    validation: str = ""

    def __post_init__(self) -> None:
        if self.labels and (
            len(set(self.labels)) < max(len(self.labels), 2)
            or min(self.labels) < 0
        ):
            raise DataError(
                f"TaskEntry {self.name!r}: the labels are {self.labels}; "
                "expected two or more different ones, or none for all."
            )
        if str(self.data).startswith(TFDS):
            return
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            if one.name in _OF_TFDS and value != one.default:
                raise DataError(
                    f"TaskEntry {self.name!r}: {one.name}={value!r} is for "
                    "data of TFDS; leave it out, or give data='tfds:NAME'."
                )

    @property
    def splits(self) -> dict[str, str]:
        """The TFDS split of each part that has one."""
        parts = {
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
        }
        return {part: split for part, split in parts.items() if split}

    def to_json(self) -> dict[str, Any]:
        """Returns what tells the task's images from others of its data."""
        found = {name: getattr(self, name) for name in _RECORDED}
        return {**found, "labels": list(self.labels)}

    @classmethod
    def from_json(cls, name: str, record: Mapping[str, Any]) -> "TaskEntry":
        """Returns an entry with what `to_json` recorded.

        Args:
            name: The task's name now.
            record: What was recorded.
        """
        known = {key: record[key] for key in _RECORDED if key in record}
        known["labels"] = tuple(known.get("labels", ()))
        return cls(name, **known)


_OF_TFDS = ("train", "validation", "test", "image_key", "label_key")
_RECORDED = ("data", *_OF_TFDS, "labels")


# Section 4 of the paper: images of CUBS and Cars cut to the bounding box and
# squashed, a random resized crop of the others; both are mirrored.
_BOX = Preprocessing(resize="squash", crop="none", box=True)
_CROP = Preprocessing(crop="resized")
# Tiny photographs: small shifts, as usual.
_SMALL = Preprocessing(crop="random")
# Digits must not be mirrored.
_DIGITS = Preprocessing(crop="random", flip=False)

_FOLDER = "--data=PATH with PATH/{train,val,test}/CLASS/*.jpg"

_ENTRIES = (
    TaskEntry(
        "imagenet",
        "tfds:imagenet2012",
        test="validation",
        preprocessing=_CROP,
        classes=1000,
        counts=(1_281_167, 50_000),
        needs="request it at image-net.org (144 GB), prepare it with TFDS",
    ),
    TaskEntry(
        "places365",
        "tfds:places365_small",
        # The test split has no labels.
        test="validation",
        preprocessing=_CROP,
        classes=365,
        counts=(1_803_460, 36_500),
        needs="download, 29 GB",
    ),
    TaskEntry(
        "cubs",
        "tfds:caltech_birds2011",
        preprocessing=_BOX,
        classes=200,
        counts=(5_994, 5_794),
        needs="download, 1.1 GB",
    ),
    TaskEntry(
        "cars",
        "tfds:cars196",
        preprocessing=_BOX,
        classes=196,
        counts=(8_144, 8_041),
        needs=f"no longer online: prepared TFDS files, or {_FOLDER}",
    ),
    TaskEntry(
        "flowers",
        "tfds:oxford_flowers102",
        train="train+validation",
        preprocessing=_CROP,
        classes=102,
        counts=(2_040, 6_149),
        needs="download, 330 MB",
    ),
    TaskEntry(
        "wikiart",
        "",
        preprocessing=_CROP,
        classes=195,
        counts=(42_129, 10_628),
        needs=f"paintings of wikiart.org by 195 artists, as {_FOLDER}",
    ),
    TaskEntry(
        "sketches",
        "",
        preprocessing=_CROP,
        classes=250,
        counts=(16_000, 4_000),
        needs="TU-Berlin's sketches (Eitz, Hays and Alexa 2012, 'How do "
        f"humans sketch objects?'), as {_FOLDER}",
    ),
    TaskEntry(
        "dogs",
        "tfds:stanford_dogs",
        preprocessing=_CROP,
        classes=120,
        counts=(12_000, 8_580),
        needs="download, 780 MB",
    ),
    TaskEntry(
        "food101",
        "tfds:food101",
        test="validation",
        preprocessing=_CROP,
        classes=101,
        counts=(75_750, 25_250),
        needs="download, 4.7 GB",
    ),
    TaskEntry(
        "dtd",
        "tfds:dtd",
        train="train+validation",
        preprocessing=_CROP,
        classes=47,
        counts=(3_760, 1_880),
        needs="download, 600 MB",
    ),
    TaskEntry(
        "cifar10",
        "tfds:cifar10",
        preprocessing=_SMALL,
        classes=10,
        counts=(50_000, 10_000),
        needs="download, 162 MB",
    ),
    TaskEntry(
        "cifar100",
        "tfds:cifar100",
        preprocessing=_SMALL,
        classes=100,
        counts=(50_000, 10_000),
        needs="download, 161 MB",
    ),
    TaskEntry(
        "mnist",
        "tfds:mnist",
        preprocessing=_DIGITS,
        classes=10,
        counts=(60_000, 10_000),
        needs="download, 11 MB",
    ),
    TaskEntry(
        "fashion_mnist",
        "tfds:fashion_mnist",
        preprocessing=_SMALL,
        classes=10,
        counts=(60_000, 10_000),
        needs="download, 29 MB",
    ),
    TaskEntry(
        "svhn",
        "tfds:svhn_cropped",
        preprocessing=_DIGITS,
        classes=10,
        counts=(73_257, 26_032),
        needs="download, 1.5 GB",
    ),
)

# CIFAR-100's fine labels, in alphabetical order, by superclass.
_SUPERCLASSES = (
    (4, 30, 55, 72, 95),
    (1, 32, 67, 73, 91),
    (54, 62, 70, 82, 92),
    (9, 10, 16, 28, 61),
    (0, 51, 53, 57, 83),
    (22, 39, 40, 86, 87),
    (5, 20, 25, 84, 94),
    (6, 7, 14, 18, 24),
    (3, 42, 43, 88, 97),
    (12, 17, 37, 68, 76),
    (23, 33, 49, 60, 71),
    (15, 19, 21, 31, 38),
    (34, 63, 64, 66, 75),
    (26, 45, 77, 79, 99),
    (2, 11, 35, 46, 98),
    (27, 29, 44, 78, 93),
    (36, 50, 65, 74, 80),
    (47, 52, 56, 59, 96),
    (8, 13, 48, 58, 90),
    (41, 69, 81, 85, 89),
)

# Images of the digits 0 and 1, 2 and 3, ... in MNIST's two parts.
_PAIRS = (
    (12_665, 2_115),
    (12_089, 2_042),
    (11_263, 1_874),
    (12_183, 1_986),
    (11_800, 1_983),
)


def _part(
    whole: str, name: str, labels: tuple[int, ...], counts: tuple[int, int]
) -> TaskEntry:
    """Returns the entry of a task that has some of another's classes."""
    return dataclasses.replace(
        BUILTIN[whole],
        name=name,
        labels=labels,
        classes=len(labels),
        counts=counts,
    )


BUILTIN = {entry.name: entry for entry in _ENTRIES}
_PARTS = [
    *(
        _part("mnist", f"split_mnist.{i}", (2 * i, 2 * i + 1), counts)
        for i, counts in enumerate(_PAIRS)
    ),
    *(
        _part("cifar100", f"cifar100_superclass.{i}", labels, (2_500, 500))
        for i, labels in enumerate(_SUPERCLASSES)
    ),
]
BUILTIN.update({entry.name: entry for entry in _PARTS})


def permuted(mnist: TaskEntry, name: str, seed: int) -> TaskEntry:
    """Returns the entry of MNIST under a permutation of its pixels."""
    return dataclasses.replace(
        mnist,
        name=name,
        preprocessing=Preprocessing(
            resize="squash", crop="none", flip=False, permutation=seed
        ),
    )


def numbers(head: str) -> str:
    """Returns the notation for a group of numbered tasks."""
    return f"{head}/0..{NUMBERED[head] - 1}"
