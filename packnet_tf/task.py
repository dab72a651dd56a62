"""The record of one task, and what a task may be called."""

import dataclasses
import re
from typing import Annotated, Any, Self

import msgspec

from packnet_tf.errors import TaskError

TRAIN = "train"
RETRAIN = "retrain"
PACKED = "packed"

# A SHA-256, hexadecimal.
DIGEST = re.compile(r"[0-9a-f]{64}")
Digest = Annotated[str, msgspec.Meta(pattern=rf"\A{DIGEST.pattern}\Z")]
# As many as a mask's byte can tell apart.
Owner = Annotated[int, msgspec.Meta(ge=1, le=255)]
# Whose weights a task computes with, beside its own.
ALL = "all"
BASE = "base"
READS = (ALL, BASE)
Reads = Annotated[str, msgspec.Meta(pattern=rf"\A({'|'.join(READS)})\Z")]
Count = Annotated[int, msgspec.Meta(ge=0)]

# A task's name becomes a folder and a SavedModel signature, so it has to be
# legal as both, on every file system.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_RESERVED = frozenset({"serving_default", "all_tasks", "by_task", "auto"})


@dataclasses.dataclass
class Task:
    """One problem of a network: classification, regression or other.

    Attributes:
        name: The task's name.
        owner: Its number in the masks, from 1 in the order added.
        classes: Width of its outputs: classes, or the numbers that a
            regression gives; 0 for a base task without a head.
        class_names: Names in the order of the logits, or None.
        activation: Keras name of the activation behind the logits.
        head: A head of the user's own in the form of
            `keras.saving.serialize_keras_object`; None for a `Dense`.
        loss: Keras name of the loss that it was last trained with, or None.
        phase: `"train"`, `"retrain"` or `"packed"`.
        trained: Whether it has been trained, or came with its weights.
        claimed: For each kernel, how many weights it claimed when added.
        digest: Hexadecimal digest recorded when it was packed, else None.
        reads: `"all"` if it computes with the weights of all older tasks,
            `"base"` if with those of the first task alone, beside its own.
    """

    name: str
    owner: Owner
    classes: Count
    class_names: tuple[str, ...] | None = None
    activation: str = "softmax"
    head: dict[str, Any] | None = None
    loss: str | None = None
    phase: str = TRAIN
    trained: bool = False
    claimed: tuple[Count, ...] = ()
    digest: Digest | None = None
    reads: Reads = ALL

    def __post_init__(self) -> None:
        check_task_name(self.name)

    @property
    def packed(self) -> bool:
        """Whether the task can never change again."""
        return self.phase == PACKED

    @property
    def since(self) -> int:
        """The first owner after the first task whose weights it reads."""
        return 2 if self.reads == ALL else max(2, self.owner)

    def to_dict(self) -> dict[str, Any]:
        """Returns the record as JSON-able values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Self:
        """Returns the task of a record made by `to_dict`.

        Raises:
            ValueError: If the record is not that of a task.
        """
        return msgspec.convert(record, cls)


def check_task_name(name: str) -> str:
    """Returns `name` if a task may have it.

    Args:
        name: The proposed name.

    Returns:
        The same name.

    Raises:
        TaskError: If it is not 1 to 64 letters, digits, `_`, `.` or `-`,
            starting with a letter or digit, or if it is reserved for a
            SavedModel signature.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise TaskError(
            f"Task name {name!r} cannot be a file and signature name; use 1 "
            "to 64 letters, digits, '_', '.' or '-', starting with a letter "
            "or digit."
        )
    if name in _RESERVED or name.endswith("_bytes"):
        raise TaskError(
            f"Task name {name!r} is reserved for a serving signature; choose "
            "another one."
        )
    return name
