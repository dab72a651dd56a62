"""The options of the served model."""

import dataclasses
import re

from packnet_tf.errors import StateError
from packnet_tf.options import fields
from packnet_tf.options.fields import SERVING, options_of

option = options_of(SERVING)

# The first is the default.
LAYOUTS = ("folded", "on_the_fly")
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def check_model_name(name: str) -> None:
    """Refuses a served model's name that cannot be a folder's name.

    Raises:
        StateError: If the name is invalid.
    """
    if not _MODEL_NAME.fullmatch(name):
        raise StateError(
            f"Model name {name!r} cannot be a folder; use 1 to 64 letters, "
            "digits, '_', '.' or '-', starting with a letter or digit."
        )


@dataclasses.dataclass(frozen=True)
class ServingConfig:
    """How a packed state becomes a version of a served model, and how long."""

    model_name: str = option(
        "Name of the model in TensorFlow Serving.",
        "packnet",
        check=check_model_name,
        basic=True,
    )
    layout: str = option(
        "The served model: folded keeps each task's view in memory, for the "
        "speed of a plain model; on_the_fly keeps one network, from which "
        "views are made in every call.",
        LAYOUTS[0],
        choices=LAYOUTS,
        flag="serving_layout",
    )
    keep_states: int | None = option(
        "How many packed states and their SavedModels to keep: older ones are "
        "removed when a task is packed, those with the label stable never. By "
        "default all.",
        None,
        at_least=1,
    )

    def __post_init__(self) -> None:
        fields.check(self)
