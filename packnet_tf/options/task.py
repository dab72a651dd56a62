"""The options of one task: how it is trained, pruned and packed."""

import dataclasses
from typing import Any

from packnet_tf.errors import FlagError
from packnet_tf.options import fields
from packnet_tf.options.augmentation import Augmentation
from packnet_tf.options.fields import PRUNING, TRAINING, option, options_of
from packnet_tf.options.fractions import AUTO, EQUAL_SHARE, parse_fraction
from packnet_tf.task import BASE, READS

training = options_of(TRAINING)
pruning = options_of(PRUNING)

PHASES = ("train", "prune", "retrain", "pack")
# The options that are the peak learning rates of the phases that train.
RATES = {"train": "learning_rate", "retrain": "retrain_learning_rate"}
SCOPES = ("layer", "global")
GRANULARITIES = ("weight", "filter")
HEAD_STARTS = ("probe", "random")
ORIGINS = ("auto", "zero", "pretrained", "random")
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
SCHEDULES = ("restarts", "cosine", "constant", "step")


def check_batch_size(batch_size: int, replicas: int = 1) -> None:
    """Refuses a batch with fewer images than replicas.

    Args:
        batch_size: Images per step, over all replicas.
        replicas: Number of replicas.

    Raises:
        FlagError: If it is too small.
    """
    if batch_size < 1:
        raise FlagError(f"--batch_size={batch_size}: expected 1 or more.")
    if batch_size < replicas:
        raise FlagError(
            f"--batch_size={batch_size} is less than the {replicas} replicas, "
            "each of which needs an image; give more images, or use fewer "
            "--replicas, or fewer workers."
        )


@dataclasses.dataclass(frozen=True)
class TaskOptions:
    """How one task is trained, pruned and packed."""

    task: str = option(
        "Name of the task: letters, digits, '_', '.' and '-'; or a registered "
        "one, such as split_mnist/0 or tfds:NAME.",
        basic=True,
    )
    phases: tuple[str, ...] = training(
        "Which phases to run, in order; train,pack keeps all weights, for a "
        "last task.",
        PHASES,
        parse=tuple,
    )
    prune_fraction: Any = pruning(
        "Share of the task's weights freed for later tasks: a number, a comma-"
        "separated list (the n-th added task takes the n-th), equal_share, or "
        "auto: as much as validation accuracy allows (--tolerance).",
        0.75,
        basic=True,
    )
    planned_tasks: int | None = pruning(
        "For equal_share: how many tasks will be added in all.",
        None,
        at_least=1,
    )
    tolerance: float | None = pruning(
        "For auto: how many points of validation accuracy pruning and the fit "
        "may cost; by default 0.5.",
        None,
        at_least=0,
    )
    scope: str = pruning(
        "Rank weights within each layer (the paper), or global: over all "
        "layers.",
        SCOPES[0],
        choices=SCOPES,
    )
    granularity: str = pruning(
        "Free single weights, or with filter whole output channels, ranked by "
        "the mean magnitude of the task's weights in them; the fraction is "
        "then one of channels. The base task is always pruned by single "
        "weights.",
        GRANULARITIES[0],
        choices=GRANULARITIES,
    )
    gradual_epochs: int | None = pruning(
        "Epochs of the retrain phase over which the pruning is spread; 0 "
        "prunes at once; by default half of them, or with --reconstruct 0.",
        None,
        at_least=0,
    )
    reconstruct: bool = pruning(
        "Fit the weights that stay so that each layer answers as before, on "
        "unlabelled training images: those of the base task, what a task "
        "starts from, and those of a task that is pruned at once.",
        True,
    )
    reconstruct_images: int = pruning(
        "How many images to fit on, at most.", 384, at_least=1
    )
    origin: str = training(
        "Where claimed weights start: pretrained (the values that they had "
        "before the base task was pruned), zero (the paper's code), random, "
        "or auto: pretrained if there are such values, else zero.",
        ORIGINS[0],
        choices=ORIGINS,
    )
    reads: str = training(
        "Which weights the task computes with beside its own: base (those of "
        "the base task alone) or all (those of all older tasks, as in the "
        "paper).",
        BASE,
        choices=READS,
    )
    head_start: str = training(
        "Where the head starts: probe (the best one for the features as they "
        "are, a softmax regression) or random, which the first task of a "
        "network without pretrained weights always does.",
        HEAD_STARTS[0],
        choices=HEAD_STARTS,
    )
    train_epochs: int = training(
        "Epochs of the train phase.", 22, at_least=1, basic=True
    )
    retrain_epochs: int = training(
        "Epochs of the retrain phase.", 8, at_least=1, basic=True
    )
    batch_size: int = training(
        "Images per step, over all replicas.",
        32,
        at_least=1,
        basic=True,
    )
    optimizer: str = training(
        "Name of a Keras optimizer.", "adam", choices=OPTIMIZERS
    )
    learning_rate: float = training(
        "Peak learning rate of the train phase.",
        4e-3,
        above=0,
        basic=True,
    )
    retrain_learning_rate: float | None = training(
        "Peak learning rate of the retrain phase; by default a quarter of that "
        "of the train phase.",
        None,
        above=0,
        basic=True,
    )
    schedule: str = training(
        "Learning rate: restarts (a cosine to 0 in each phase), cosine (one "
        "over both phases), constant, or step (a tenth after half of each "
        "phase, as in the paper's train phase).",
        SCHEDULES[0],
        choices=SCHEDULES,
    )
    warmup_share: float = training(
        "Share of the first decay's steps in which the rate of restarts and "
        "cosine first rises from 0 to its peak.",
        0.07,
        at_least=0,
        below=1,
    )
    weight_decay: float | None = training(
        "Decoupled weight decay; by default Keras's own.", None, at_least=0
    )
    validation_share: float = training(
        "Share of the training images kept for validation, where the data has "
        "no validation images of its own.",
        0.1,
        at_least=0,
        below=1,
        basic=True,
    )
    augment: str = training(
        "Augmentation beyond crops and flips: randaugment[:MAGNITUDE], "
        "mixup[:ALPHA], cutmix[:ALPHA], separated by commas.",
        "",
        check=Augmentation.parse,
        basic=True,
    )
    seed: int = training(
        "Seed of everything random.", 0, at_least=0, at_most=2**32 - 1
    )

    def __post_init__(self) -> None:
        unknown = [p for p in self.phases if p not in PHASES]
        order = [PHASES.index(p) for p in self.phases if p in PHASES]
        if unknown or not self.phases or order != sorted(set(order)):
            raise FlagError(
                f"--phases={','.join(self.phases)}: expected some of "
                f"{','.join(PHASES)}, in this order."
            )
        fields.check(self)
        self._check_pruning()

    def _check_pruning(self) -> None:
        if self.finds_fraction:
            self._check_search()
        elif self.tolerance is not None:
            raise FlagError(
                f"--tolerance={self.tolerance:g} is for --prune_fraction=auto, "
                f"not {self.prune_fraction}; give one of the two."
            )
        if self.planned_tasks is not None and (
            str(self.prune_fraction).strip() != EQUAL_SHARE
        ):
            raise FlagError(
                f"--planned_tasks={self.planned_tasks} is for "
                f"--prune_fraction={EQUAL_SHARE}, not {self.prune_fraction}; "
                "give one of the two."
            )
        # Which of the added tasks this will be is not known here; that the
        # setting is well formed is.
        if not self.finds_fraction:
            parse_fraction(self.prune_fraction, 1, self.planned_tasks)
        if self.gradual_epochs is None:
            return
        if self.gradual_epochs > self.retrain_epochs:
            raise FlagError(
                f"--gradual_epochs={self.gradual_epochs} is more than "
                f"--retrain_epochs={self.retrain_epochs}; pruning must end "
                "within the retrain phase."
            )
        if self.gradual_epochs and self._skips_retraining:
            raise FlagError(
                f"--gradual_epochs={self.gradual_epochs} needs the retrain "
                f"phase, and --phases={','.join(self.phases)} has none "
                "between prune and pack; add it, or prune at once with 0."
            )

    def _check_search(self) -> None:
        if self.gradual_epochs:
            raise FlagError(
                f"--gradual_epochs={self.gradual_epochs}: with "
                "--prune_fraction=auto a task is pruned at once; leave it "
                "out, or give a number as the fraction."
            )
        if not self.reconstruct:
            raise FlagError(
                "--prune_fraction=auto looks at the accuracy after the fit, "
                "and --reconstruct=false turns that off; leave one of the "
                "two out."
            )

    @property
    def finds_fraction(self) -> bool:
        """Whether the fraction is found when the task is pruned."""
        return str(self.prune_fraction).strip() == AUTO

    @property
    def points(self) -> float | None:
        """The tolerance in points, or None if the fraction is given."""
        if not self.finds_fraction:
            return None
        return 0.5 if self.tolerance is None else self.tolerance

    def settings(self, phase: str) -> dict[str, Any]:
        """Returns the settings with which a phase must be resumed.

        Args:
            phase: `"train"` or `"retrain"`.
        """
        names = ["seed", "validation_share", "batch_size", "optimizer"]
        names += ["schedule", "warmup_share", "weight_decay", "augment"]
        if phase == "train":
            names += ["origin", "reads", "head_start"]
            names += ["reconstruct", "reconstruct_images"]
        # The decay of the learning rate spans both phases.
        names += [RATES[phase], "train_epochs", "retrain_epochs"]
        return {name: getattr(self, name) for name in names}

    @property
    def epochs_to_retrain(self) -> int:
        """Epochs of the retrain phase, or 0 if pack skips it."""
        return 0 if self._packs_as_trained else self.retrain_epochs

    @property
    def _packs_as_trained(self) -> bool:
        return "pack" in self.phases and "retrain" not in self.phases

    @property
    def _skips_retraining(self) -> bool:
        return "prune" in self.phases and self._packs_as_trained

    @property
    def gradual_steps(self) -> int:
        """Epochs of the retrain phase over which pruning is spread."""
        if self.finds_fraction:
            return 0
        if self.gradual_epochs is not None:
            return self.gradual_epochs
        if self._skips_retraining or self.reconstruct:
            return 0
        return self.retrain_epochs // 2
