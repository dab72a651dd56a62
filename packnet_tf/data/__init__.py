"""Data of tasks: sources, the registry, and the pipeline to batches."""

from packnet_tf.data.checks import check
from packnet_tf.data.entries import TaskEntry
from packnet_tf.data.images import Preprocessing
from packnet_tf.data.pipeline import Training, evaluation, training
from packnet_tf.data.registry import register, registered
from packnet_tf.data.splits import split
from packnet_tf.data.strong import Augmentation
from packnet_tf.data.tasks import TaskData, open_task, reopen

__all__ = [
    "Augmentation",
    "Preprocessing",
    "TaskData",
    "TaskEntry",
    "Training",
    "check",
    "evaluation",
    "open_task",
    "register",
    "registered",
    "reopen",
    "split",
    "training",
]
