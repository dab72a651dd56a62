"""Splits a task's data and builds its training and evaluation pipelines."""

import dataclasses
from typing import Any

import tensorflow as tf

from packnet_tf.data import pipeline, splits
from packnet_tf.data.facts import DataFacts
from packnet_tf.data.sources.base import Source
from packnet_tf.data.task_data import TaskData
from packnet_tf.errors import DataError
from packnet_tf.options.augmentation import Augmentation
from packnet_tf.options.task import TaskOptions


@dataclasses.dataclass(frozen=True)
class ImageFacts:
    """What the manifest records of a task's images.

    Attributes:
        classes: Number of classes.
        train: Number of training images, without those for validation.
        validation: Number of validation images.
        test: Number of test images.
        data: Where they came from, and how they became the network's.
        augmentation: What training does to them beyond crops and flips.
    """

    classes: int
    train: int
    validation: int
    test: int
    data: DataFacts
    augmentation: Augmentation

    def to_json(self) -> dict[str, Any]:
        """Returns the facts in one flat object."""
        counts = ("classes", "train", "validation", "test")
        return {
            **{name: getattr(self, name) for name in counts},
            **self.data.to_json(),
            **self.augmentation.to_facts(),
        }


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A task's data, split and ready to train on.

    Attributes:
        name: The task's name.
        class_names: Names in the order of the labels.
        train: The training pipeline: `train.epoch(n)` is a dataset.
        validation: Evaluation dataset, or None.
        facts: What the manifest records of the images.
    """

    name: str
    class_names: tuple[str, ...]
    train: pipeline.Training
    validation: tf.data.Dataset | None
    facts: ImageFacts


def prepare(data: TaskData, image_size: int, options: TaskOptions) -> Prepared:
    """Splits a task's data and builds its pipelines.

    The validation images are the data's own, or else taken from the training
    split. The test split is left out, so that no phase can read it (see
    `prepare_test`).

    Args:
        data: The opened task.
        image_size: Height and width in pixels.
        options: Batch size, validation share, augmentation and seed.

    Raises:
        DataError: If there are no training images, or fewer than a batch.
    """
    train, validation = _split(data, options)
    whole = len(data.train or ())
    if len(train) < options.batch_size <= whole:
        raise DataError(
            f"Of {whole} training images {len(validation)} are kept "
            f"for validation, which leaves {len(train)}, fewer than a batch "
            f"of {options.batch_size}; lower --batch_size or "
            "--validation_share."
        )
    augmentation = Augmentation.parse(options.augment)
    training = pipeline.training(
        train,
        image_size,
        options.batch_size,
        options.seed,
        data.preprocessing,
        augmentation=augmentation,
    )
    return Prepared(
        name=data.name,
        class_names=tuple(data.class_names),
        train=training,
        validation=(
            _evaluation(validation, data, image_size, options)
            if len(validation)
            else None
        ),
        facts=ImageFacts(
            classes=data.classes,
            train=len(train),
            validation=len(validation),
            test=0 if data.test is None else len(data.test),
            data=data.facts,
            augmentation=augmentation,
        ),
    )


def validation_count(data: TaskData, options: TaskOptions) -> int:
    """Returns how many images `prepare` would keep for validation.

    With few images in a class that may be none, whatever the share.

    Args:
        data: The opened task.
        options: Validation share and seed.
    """
    return len(_split(data, options)[1])


def _split(data: TaskData, options: TaskOptions) -> tuple[Source, Source]:
    """Returns the training and the validation images."""
    if data.train is None:
        raise DataError(
            f"The data of task {data.name!r} has no training images."
        )
    if data.validation is not None:
        return data.train, data.validation
    return splits.split(data.train, options.validation_share, options.seed)


def prepare_test(
    data: TaskData, image_size: int, options: TaskOptions
) -> tf.data.Dataset | None:
    """Returns the evaluation dataset of the test split, or None.

    Args:
        data: The opened task.
        image_size: Height and width in pixels.
        options: Batch size.
    """
    if data.test is None:
        return None
    return _evaluation(data.test, data, image_size, options)


def _evaluation(
    source: Source, data: TaskData, image_size: int, options: TaskOptions
) -> tf.data.Dataset:
    return pipeline.evaluation(
        source, image_size, options.batch_size, data.preprocessing
    )
