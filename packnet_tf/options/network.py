"""The options of a workdir's network, fixed when its first task begins."""

import dataclasses
import functools
from typing import Any

from packnet_tf.errors import FlagError, NetworkError
from packnet_tf.options import fields
from packnet_tf.options.fields import NETWORK, options_of
from packnet_tf.options.fractions import validate_fraction
from packnet_tf.options.task import SCOPES
from packnet_tf.task import check_task_name

option = options_of(NETWORK)

# What packed weights may be rounded to, the first of them to nothing.
PRECISIONS = ("float32", "bfloat16", "float16")
# Whether depthwise kernels are private to each task, or masked like others.
DEPTHWISE = ("private", "masked")

# With larger images a single batch takes gigabytes.
MAX_IMAGE_SIZE = 4096


def parse_options(text: str) -> dict[str, Any]:
    """Returns the constructor options of a network as a dictionary.

    Numbers become numbers, `true` and `false` become booleans; anything else
    stays text.

    Args:
        text: Options such as `"alpha=0.75,depth_multiplier=1"`; may be empty.

    Raises:
        NetworkError: If a part is not of the form NAME=VALUE, or a name
            occurs twice.

    Example:

    >>> parse_options("alpha=0.75,minimalistic=true")
    {'alpha': 0.75, 'minimalistic': True}
    """
    options: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, value = (p.strip() for p in part.partition("="))
        if not (name and equals and value):
            raise NetworkError(
                f"--network_options: {part!r} is not of the form NAME=VALUE."
            )
        if name in options:
            raise NetworkError(
                f"--network_options: {name!r} is given twice; give it once."
            )
        options[name] = _value(value)
    return options


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """The options of a workdir's network and its base task."""

    network: str = option(
        "vgg16, resnet50, densenet121, mobilenet, another network of "
        "keras.applications, cnn (a small one), or the path of a .keras file. "
        "The first command stores this and the other options of the network "
        "in the workdir, and later ones need not repeat them.",
        "mobilenet",
        basic=True,
    )
    network_options: dict[str, Any] = option(
        "Options of the network, e.g. alpha=0.75.",
        default_factory=dict,
        parse=parse_options,
        basic=True,
    )
    weights: str = option(
        "imagenet (downloaded), none (the first task trains from scratch), or "
        "the path of a weights file.",
        "imagenet",
        basic=True,
    )
    image_size: int = option(
        "Height and width of the images in pixels.",
        224,
        at_least=1,
        at_most=MAX_IMAGE_SIZE,
        basic=True,
    )
    head_layer: str | None = option(
        "Layer of the network that is the base task's head; none for a base "
        "task without one. By default the last layer with a kernel.",
        None,
    )
    private: str = option(
        "Normalization, biases and depthwise kernels: per_task, a copy for "
        "each task, or frozen, those of the base task for all (the paper).",
        "per_task",
        choices=("per_task", "frozen"),
    )
    depthwise: str = option(
        "Depthwise kernels: private variables, or masked like the other "
        "kernels.",
        "private",
        choices=DEPTHWISE,
    )
    packed_precision: str = option(
        "What a packed task's weights are rounded to, for ever: bfloat16 and "
        "float16 halve the files.",
        PRECISIONS[0],
        choices=PRECISIONS,
    )
    precision: str = option(
        "Arithmetic of the network: a Keras dtype policy.",
        "float32",
        choices=("float32", "mixed_float16", "mixed_bfloat16"),
    )
    base_task: str = option(
        "Name of the pretrained weights' task; choose another for a network "
        "that was not trained on ImageNet.",
        "imagenet",
        check=check_task_name,
    )
    base_prune_fraction: float = option(
        "Share of the pretrained weights freed for added tasks: more serves "
        "them, less serves the base task.",
        0.5,
        check=functools.partial(validate_fraction, name="base_prune_fraction"),
        basic=True,
    )
    base_scope: str = option(
        "Rank the base task's weights within each layer (the paper), or "
        "global: over all layers, which serves the base task and leaves more "
        "room in the large layers.",
        SCOPES[0],
        choices=SCOPES,
    )
    base_recovery: str = option(
        "How the base task is trained once it is pruned and fitted: none, "
        "distill (on the unpruned network's answers to the images of the "
        "first added task, which helps only with --reconstruct=false), or "
        "data (on --base_data).",
        "none",
        choices=("none", "distill", "data"),
    )
    base_recovery_epochs: int = option(
        "Epochs of the base task's recovery.", 20, at_least=1
    )
    base_learning_rate: float = option(
        "Peak learning rate of the base task's recovery.", 1e-3, above=0
    )

    def __post_init__(self) -> None:
        if not self.network:
            raise FlagError("--network=: expected a name or a .keras file.")
        if self.network.endswith(".keras") and self.weights != "imagenet":
            raise FlagError(
                f"--weights={self.weights} cannot be used with --network="
                f"{self.network}: the file has its own weights; leave "
                "--weights out."
            )
        fields.check(self)

    @property
    def pretrained(self) -> bool:
        """Whether the network comes with weights, those of the base task."""
        # A file as recorded in a workdir, or its path.
        own = self.network.startswith("file:") or self.network.endswith(
            ".keras"
        )
        return own or self.weights != "none"
