"""The options of the served model."""

import dataclasses

from packnet_tf.options import fields
from packnet_tf.options.fields import option

# The first is the default.
LAYOUTS = ("folded", "on_the_fly")


@dataclasses.dataclass(frozen=True)
class ServingConfig:
    """How a packed state becomes a version of a served model."""

    model_name: str = option(
        "Name of the model in TensorFlow Serving.", "packnet"
    )
    layout: str = option(
        "The served model: folded keeps each task's view in memory, for the "
        "speed of a plain model; on_the_fly keeps one network, from which "
        "views are made in every call.",
        LAYOUTS[0],
        choices=LAYOUTS,
        flag="serving_layout",
    )

    def __post_init__(self) -> None:
        fields.check(self)
