"""packnet_tf: many tasks in one Keras network, and nothing forgotten."""

from packnet_tf.convert.mask_model import mask_model
from packnet_tf.errors import (
    CapacityError,
    ConversionError,
    DataError,
    FlagError,
    NetworkError,
    PackNetError,
    PhaseError,
    PromiseError,
    ProtectionError,
    StateError,
    TaskError,
)
from packnet_tf.model.extract import extract
from packnet_tf.model.packnet import PackNet
from packnet_tf.serving.saved_model import export_saved_model
from packnet_tf.task import Task
from packnet_tf.workflow import schedules as _named_in_files  # noqa: F401

__version__ = "0.1.0"

__all__ = [
    "CapacityError",
    "ConversionError",
    "DataError",
    "FlagError",
    "NetworkError",
    "PackNet",
    "PackNetError",
    "PhaseError",
    "PromiseError",
    "ProtectionError",
    "StateError",
    "Task",
    "TaskError",
    "export_saved_model",
    "extract",
    "mask_model",
]
