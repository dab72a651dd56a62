"""Data of tasks: sources, the registry, and the pipeline to batches."""

from packnet_tf.data.checks import check
from packnet_tf.data.images import Preprocessing
from packnet_tf.data.pipeline import Training, evaluation, training
from packnet_tf.data.splits import split
from packnet_tf.data.tasks import (
    TaskData,
    TaskEntry,
    open_task,
    register,
    registered,
)

__all__ = [
    "Preprocessing",
    "TaskData",
    "TaskEntry",
    "Training",
    "check",
    "evaluation",
    "open_task",
    "register",
    "registered",
    "split",
    "training",
]
