"""What a run can be told: one place for names, defaults and checks."""

import dataclasses
import pathlib
from typing import Any

from packnet_tf.errors import FlagError
from packnet_tf.pruning import validate_fraction

PHASES = ("train", "prune", "retrain", "pack")
OPTIMIZERS = (
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "ftrl",
    "lamb",
    "lion",
    "muon",
    "nadam",
    "rmsprop",
    "sgd",
)
SCHEDULES = ("cosine", "constant", "step")


@dataclasses.dataclass(frozen=True)
class NetworkOptions:
    """Facts of a workdir's network, fixed when its first task begins.

    Attributes:
        network: Name of the network, or path of a `.keras` file.
        network_options: Constructor options, such as `{"alpha": 0.75}`.
        weights: `"imagenet"`, `"none"`, or the path of a weights file.
        image_size: Height and width of the images, in pixels.
        head_layer: Layer of the imported head, `"none"`, or None (found).
        private: `"per_task"` or `"frozen"`; see `PackNet`.
        depthwise: `"private"` or `"masked"`; see `PackNet`.
        precision: Keras dtype policy, e.g. `"float32"`.
        base_task: Name of the task of the pretrained weights.
        base_prune_fraction: Share of the pretrained weights that is freed.
        base_recovery: `"none"`, `"distill"` or `"data"`: what heals the
            base task after pruning.
        base_recovery_epochs: Epochs of that.
        base_learning_rate: Peak learning rate of that.
    """

    network: str = "mobilenet"
    network_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    weights: str = "imagenet"
    image_size: int = 224
    head_layer: str | None = None
    private: str = "per_task"
    depthwise: str = "private"
    precision: str = "float32"
    base_task: str = "imagenet"
    base_prune_fraction: float = 0.75
    base_recovery: str = "distill"
    base_recovery_epochs: int = 10
    base_learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        validate_fraction(self.base_prune_fraction, "base_prune_fraction")
        _choice("private", self.private, ("per_task", "frozen"))
        _choice("depthwise", self.depthwise, ("private", "masked"))
        _choice(
            "precision",
            self.precision,
            ("float32", "mixed_float16", "mixed_bfloat16"),
        )
        _choice(
            "base_recovery", self.base_recovery, ("none", "distill", "data")
        )
        _at_least("base_recovery_epochs", self.base_recovery_epochs, 1)
        _positive("base_learning_rate", self.base_learning_rate)

    @property
    def pretrained(self) -> bool:
        """Whether the network comes with weights, the base task's."""
        return self.weights != "none" or self.network.endswith(".keras")


@dataclasses.dataclass(frozen=True)
class TaskOptions:
    """How one task is trained.

    Attributes:
        task: The task's name.
        phases: Which phases to run, in order.
        prune_fraction: Share of the task's weights to free: a number, a list
            of numbers (the n-th added task takes the n-th), or
            `"equal_share"`.
        planned_tasks: For `equal_share`: tasks to be added in all.
        scope: `"layer"` or `"global"` ranking.
        gradual_epochs: Epochs of the retrain phase over which the pruning is
            spread; 0 prunes at once, None takes half the phase.
        origin: Where claimed weights start; see `PackNet.add_task`.
        train_epochs: Epochs of the train phase.
        retrain_epochs: Epochs of the retrain phase.
        batch_size: Images a step, over all replicas.
        optimizer: Name of a Keras optimizer.
        learning_rate: Peak learning rate of the train phase.
        retrain_learning_rate: Peak learning rate of the retrain phase.
        schedule: `"cosine"` to 0, `"constant"`, or `"step"` (x 0.1 after
            half the phase, as the paper's train phase).
        weight_decay: Decoupled weight decay, or None.
        validation_share: Share of the training images kept for validation.
        seed: Seed of everything random.
    """

    task: str
    phases: tuple[str, ...] = PHASES
    prune_fraction: Any = 0.75
    planned_tasks: int | None = None
    scope: str = "layer"
    gradual_epochs: int | None = None
    origin: str = "auto"
    train_epochs: int = 12
    retrain_epochs: int = 18
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: float = 2e-3
    retrain_learning_rate: float = 2e-3
    schedule: str = "cosine"
    weight_decay: float | None = None
    validation_share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [p for p in self.phases if p not in PHASES]
        order = [PHASES.index(p) for p in self.phases if p in PHASES]
        if unknown or not self.phases or order != sorted(set(order)):
            raise FlagError(
                f"--phases={','.join(self.phases)}: expected some of "
                f"{','.join(PHASES)}, in this order."
            )
        _choice("scope", self.scope, ("layer", "global"))
        _choice("optimizer", self.optimizer, OPTIMIZERS)
        _choice("schedule", self.schedule, SCHEDULES)
        _choice("origin", self.origin, ("auto", "zero", "pretrained", "random"))
        _at_least("train_epochs", self.train_epochs, 1)
        _at_least("retrain_epochs", self.retrain_epochs, 1)
        _at_least("batch_size", self.batch_size, 1)
        if self.gradual_epochs is not None:
            _at_least("gradual_epochs", self.gradual_epochs, 0)
        _positive("learning_rate", self.learning_rate)
        _positive("retrain_learning_rate", self.retrain_learning_rate)
        if self.weight_decay is not None and self.weight_decay < 0:
            raise FlagError(
                f"--weight_decay={self.weight_decay}: expected 0 or more."
            )
        if not 0 <= self.validation_share < 1:
            raise FlagError(
                f"--validation_share={self.validation_share}: expected at "
                "least 0 and less than 1."
            )
        if (self.gradual_epochs or 0) > self.retrain_epochs:
            raise FlagError(
                f"--gradual_epochs={self.gradual_epochs} is more than "
                f"--retrain_epochs={self.retrain_epochs}; the pruning has to "
                "end within the retrain phase."
            )


def check_writable(path: pathlib.Path) -> None:
    """Refuses a workdir that cannot be written, before any work is done.

    Raises:
        FlagError: Naming the folder.
    """
    existing = path
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        raise FlagError(
            f"--workdir={path}: {existing} is a file; give a folder."
        )
    probe = existing / f".packnet_tf_{id(path)}"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise FlagError(
            f"--workdir={path}: cannot write to {existing} "
            f"({error.strerror}); choose another folder."
        ) from error


def _choice(name: str, value: str, legal: tuple[str, ...]) -> None:
    if value not in legal:
        raise FlagError(
            f"--{name}={value}: expected one of {', '.join(legal)}."
        )


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise FlagError(f"--{name}={value}: expected {least} or more.")


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise FlagError(f"--{name}={value}: expected more than 0.")
