"""What a run can be told: one place for names, defaults and checks."""

import dataclasses
import math
import os
import pathlib
from typing import Any

from packnet_tf.data.images.mixing import Augmentation
from packnet_tf.errors import FlagError
from packnet_tf.masks.fractions import (
    EQUAL_SHARE,
    parse_fraction,
    validate_fraction,
)
from packnet_tf.masks.pruning import GRANULARITIES, SCOPES
from packnet_tf.task import check_task_name

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
# Beyond it, a batch of images alone takes gigabytes.
MAX_IMAGE_SIZE = 4096


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
    base_recovery_epochs: int = 20
    base_learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        if not self.network:
            raise FlagError("--network=: expected a name or a .keras file.")
        if self.network.endswith(".keras") and self.weights != "imagenet":
            raise FlagError(
                f"--weights={self.weights} does not go with --network="
                f"{self.network}: the file brings its own weights; leave "
                "--weights out."
            )
        _between("image_size", self.image_size, 1, MAX_IMAGE_SIZE)
        check_task_name(self.base_task)
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
        # A file, as a workdir knows it, or by its path.
        own = self.network.startswith("file:") or self.network.endswith(
            ".keras"
        )
        return own or self.weights != "none"


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
        granularity: `"weight"` frees single weights, `"filter"` whole output
            channels.
        gradual_epochs: Epochs of the retrain phase over which the pruning is
            spread; 0 prunes at once, None takes half the phase.
        origin: Where claimed weights start; see `PackNet.add_task`.
        train_epochs: Epochs of the train phase.
        retrain_epochs: Epochs of the retrain phase.
        batch_size: Images a step, over all replicas.
        optimizer: Name of a Keras optimizer.
        learning_rate: Peak learning rate of the train phase.
        retrain_learning_rate: Peak learning rate of the retrain phase.
        schedule: `"cosine"` (one decay to 0 over both phases),
            `"constant"`, or `"step"` (x 0.1 after half of each phase, as the
            paper's train phase).
        warmup_share: Share of both phases' steps, at the start, in which the
            rate of `"cosine"` rises from 0 to its peak.
        weight_decay: Decoupled weight decay, or None.
        validation_share: Share of the training images kept for validation.
        augment: Augmentation beyond crops and flips; see
            `Augmentation.parse`.
        seed: Seed of everything random.
    """

    task: str
    phases: tuple[str, ...] = PHASES
    prune_fraction: Any = 0.75
    planned_tasks: int | None = None
    scope: str = "layer"
    granularity: str = "weight"
    gradual_epochs: int | None = None
    origin: str = "auto"
    train_epochs: int = 12
    retrain_epochs: int = 18
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: float = 4e-3
    retrain_learning_rate: float = 4e-3
    schedule: str = "cosine"
    warmup_share: float = 0.07
    weight_decay: float | None = None
    validation_share: float = 0.1
    augment: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [p for p in self.phases if p not in PHASES]
        order = [PHASES.index(p) for p in self.phases if p in PHASES]
        if unknown or not self.phases or order != sorted(set(order)):
            raise FlagError(
                f"--phases={','.join(self.phases)}: expected some of "
                f"{','.join(PHASES)}, in this order."
            )
        _choice("scope", self.scope, SCOPES)
        _choice("granularity", self.granularity, GRANULARITIES)
        _choice("optimizer", self.optimizer, OPTIMIZERS)
        _choice("schedule", self.schedule, SCHEDULES)
        _choice("origin", self.origin, ("auto", "zero", "pretrained", "random"))
        _at_least("train_epochs", self.train_epochs, 1)
        _at_least("retrain_epochs", self.retrain_epochs, 1)
        _at_least("batch_size", self.batch_size, 1)
        _positive("learning_rate", self.learning_rate)
        _positive("retrain_learning_rate", self.retrain_learning_rate)
        if not 0 <= self.warmup_share < 1:
            raise FlagError(
                f"--warmup_share={self.warmup_share}: expected at least 0 and "
                "less than 1."
            )
        if self.weight_decay is not None and self.weight_decay != 0:
            _positive("weight_decay", self.weight_decay, "0 or more")
        _between("seed", self.seed, 0, 2**32 - 1)
        if not 0 <= self.validation_share < 1:
            raise FlagError(
                f"--validation_share={self.validation_share}: expected at "
                "least 0 and less than 1."
            )
        Augmentation.parse(self.augment)
        self._check_pruning()

    def _check_pruning(self) -> None:
        if self.planned_tasks is not None:
            _at_least("planned_tasks", self.planned_tasks, 1)
            if str(self.prune_fraction).strip() != EQUAL_SHARE:
                raise FlagError(
                    f"--planned_tasks={self.planned_tasks} is for "
                    f"--prune_fraction={EQUAL_SHARE}, not "
                    f"{self.prune_fraction}; give one of the two."
                )
        # Which of the added tasks this is, is not known here; that the
        # setting is well formed can be.
        parse_fraction(self.prune_fraction, 1, self.planned_tasks)
        if self.gradual_epochs is None:
            return
        _at_least("gradual_epochs", self.gradual_epochs, 0)
        if self.gradual_epochs > self.retrain_epochs:
            raise FlagError(
                f"--gradual_epochs={self.gradual_epochs} is more than "
                f"--retrain_epochs={self.retrain_epochs}; the pruning has to "
                "end within the retrain phase."
            )
        if self.gradual_epochs and self._skips_retraining:
            raise FlagError(
                f"--gradual_epochs={self.gradual_epochs} needs the retrain "
                f"phase, and --phases={','.join(self.phases)} has none "
                "between prune and pack; add it, or prune at once with 0."
            )

    def settings(self, phase: str) -> dict[str, Any]:
        """Returns what a phase that is resumed has to be resumed with.

        Args:
            phase: `"train"` or `"retrain"`.
        """
        names = ["seed", "validation_share", "batch_size", "optimizer"]
        names += ["schedule", "warmup_share", "weight_decay", "augment"]
        if phase == "train":
            names += ["origin", "learning_rate"]
        else:
            names += ["retrain_learning_rate"]
        # The decay of the learning rate goes over both phases.
        names += ["train_epochs", "retrain_epochs"]
        return {name: getattr(self, name) for name in names}

    @property
    def epochs_to_retrain(self) -> int:
        """Epochs of the retrain phase, 0 if pack comes without it."""
        return 0 if self._packs_as_trained else self.retrain_epochs

    @property
    def _packs_as_trained(self) -> bool:
        return "pack" in self.phases and "retrain" not in self.phases

    @property
    def _skips_retraining(self) -> bool:
        return "prune" in self.phases and self._packs_as_trained

    @property
    def gradual_steps(self) -> int:
        """Epochs of the retrain phase that the pruning is spread over."""
        if self.gradual_epochs is not None:
            return self.gradual_epochs
        return 0 if self._skips_retraining else self.retrain_epochs // 2


def check_writable(path: pathlib.Path) -> None:
    """Refuses a workdir that cannot be written, before any work is done.

    Raises:
        FlagError: Naming the folder.
    """
    existing = path
    try:
        while not existing.exists():
            existing = existing.parent
        if not existing.is_dir():
            raise FlagError(
                f"--workdir={path}: {existing} is a file; give a folder."
            )
        probe = existing / f".packnet_tf_{os.getpid()}"
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        if isinstance(error, FlagError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise FlagError(
            f"--workdir={path}: cannot write to {existing} ({reason}); choose "
            "another folder."
        ) from error


def check_batch_size(batch_size: int, replicas: int = 1) -> None:
    """Refuses a batch that does not give every replica an image.

    Args:
        batch_size: Images of a step, over all replicas.
        replicas: How many share them.

    Raises:
        FlagError: If it is too small.
    """
    _at_least("batch_size", batch_size, 1)
    if batch_size < replicas:
        raise FlagError(
            f"--batch_size={batch_size} is less than the {replicas} replicas, "
            "of which each needs an image; give more, or fewer --replicas."
        )


def _choice(name: str, value: str, legal: tuple[str, ...]) -> None:
    if value not in legal:
        raise FlagError(
            f"--{name}={value}: expected one of {', '.join(legal)}."
        )


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise FlagError(f"--{name}={value}: expected {least} or more.")


def _between(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise FlagError(f"--{name}={value}: expected {least} to {most}.")


def _positive(name: str, value: float, expected: str = "more than 0") -> None:
    if not 0 < value < math.inf:
        raise FlagError(f"--{name}={value}: expected {expected}.")
