"""The data of tasks: sources, the registry, and pipelines to batches."""

from packnet_tf.data.catalog import TaskEntry
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.integrity import check
from packnet_tf.data.pipeline import Training, evaluation, training
from packnet_tf.data.registry import register, registered
from packnet_tf.data.splits import split
from packnet_tf.data.task_data import TaskData, open_task, reopen
from packnet_tf.options.augmentation import Augmentation

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
