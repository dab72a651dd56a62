"""Flags that the apps share, and how they become options."""

import pathlib
from typing import Any

from absl import flags

from packnet_tf.data.open_task import CROPS
from packnet_tf.errors import FlagError
from packnet_tf.masks.pruning import GRANULARITIES, SCOPES
from packnet_tf.serving.weight_store import LAYOUTS
from packnet_tf.workflow.options import (
    OPTIMIZERS,
    PHASES,
    SCHEDULES,
    NetworkOptions,
    TaskOptions,
    check_batch_size,
    check_writable,
)

_NETWORK = NetworkOptions()
_TASK = TaskOptions(task="")

flags.DEFINE_string(
    "workdir", None, "Folder of the network: its packed states and SavedModels."
)


def define_network_flags() -> None:
    """Flags of the network; fixed by the first command on a workdir."""
    flags.DEFINE_string(
        "network",
        _NETWORK.network,
        "vgg16, resnet50, densenet121, mobilenet, any other keras.applications "
        "network, cnn (a small one), or the path of a .keras file. This and "
        "the other network flags are kept in the workdir by its first "
        "command, and need not be given again.",
    )
    flags.DEFINE_string(
        "network_options", "", "Options of the network, e.g. alpha=0.75."
    )
    flags.DEFINE_string(
        "weights",
        _NETWORK.weights,
        "imagenet (downloaded), none (the first task trains from scratch), or "
        "the path of a weights file.",
    )
    flags.DEFINE_integer(
        "image_size", _NETWORK.image_size, "Height and width in pixels."
    )
    flags.DEFINE_string(
        "head_layer",
        None,
        "Layer of the network that is the base task's head; none for a base "
        "task without one. By default the last layer with a kernel.",
    )
    flags.DEFINE_enum(
        "private",
        _NETWORK.private,
        ["per_task", "frozen"],
        "Normalization, biases and depthwise kernels: a copy for each task, "
        "or those of the base task for all (the paper).",
    )
    flags.DEFINE_enum(
        "depthwise",
        _NETWORK.depthwise,
        ["private", "masked"],
        "Depthwise kernels: private variables, or shared under masks.",
    )
    flags.DEFINE_enum(
        "precision",
        _NETWORK.precision,
        ["float32", "mixed_float16", "mixed_bfloat16"],
        "Arithmetic of the network.",
    )
    flags.DEFINE_string(
        "base_task",
        _NETWORK.base_task,
        "Name of the pretrained weights' task; name it yourself for a network "
        "file that was not trained on ImageNet.",
    )
    flags.DEFINE_float(
        "base_prune_fraction",
        _NETWORK.base_prune_fraction,
        "Share of the pretrained weights freed for added tasks; more serves "
        "them, less serves the base task.",
    )
    flags.DEFINE_string(
        "base_data",
        None,
        "Labelled images of the base task, which recovers on them unless "
        "--base_recovery says otherwise; places as in --data.",
    )
    flags.DEFINE_enum(
        "base_recovery",
        _NETWORK.base_recovery,
        ["none", "distill", "data"],
        "What heals the base task after pruning: nothing (if nobody asks it "
        "anything), the unpruned network's answers on the new task's images, "
        "or --base_data.",
    )
    flags.DEFINE_integer(
        "base_recovery_epochs",
        _NETWORK.base_recovery_epochs,
        "Epochs of the base task's recovery.",
    )
    flags.DEFINE_float(
        "base_learning_rate",
        _NETWORK.base_learning_rate,
        "Peak learning rate of the base task's recovery.",
    )


def define_task_flags(
    phases: tuple[str, ...] = PHASES, gradual_epochs: int | None = None
) -> None:
    """Flags of one task's training.

    Args:
        phases: The phases that the app runs.
        gradual_epochs: Default of the flag.
    """
    flags.DEFINE_string("task", None, "Name of the task.")
    define_data_flags()
    flags.DEFINE_list(
        "phases",
        list(phases),
        "Which phases to run. train,pack keeps all weights, for a last task.",
    )
    flags.DEFINE_string(
        "prune_fraction",
        str(_TASK.prune_fraction),
        "Share of the task's weights freed for later tasks: a number, a comma-"
        "separated list (the n-th added task takes the n-th), or equal_share.",
    )
    flags.DEFINE_integer(
        "planned_tasks", None, "For equal_share: tasks to be added in all."
    )
    flags.DEFINE_enum(
        "scope",
        _TASK.scope,
        list(SCOPES),
        "Rank weights within each layer (the paper), or over all layers.",
    )
    flags.DEFINE_enum(
        "granularity",
        _TASK.granularity,
        list(GRANULARITIES),
        "Free single weights, or whole output channels (filters) by their "
        "mean magnitude; the fraction is then one of channels. The base task "
        "is always pruned by single weights.",
    )
    flags.DEFINE_integer(
        "gradual_epochs",
        gradual_epochs,
        "Epochs of retraining over which pruning is spread; 0: at once; by "
        "default half of them.",
    )
    flags.DEFINE_enum(
        "origin",
        _TASK.origin,
        ["auto", "zero", "pretrained", "random"],
        "Where claimed weights start: pretrained is the value that each had "
        "before the base task was pruned; zero is the paper's code.",
    )
    for phase in ("train", "retrain"):
        flags.DEFINE_integer(
            f"{phase}_epochs",
            getattr(_TASK, f"{phase}_epochs"),
            f"Epochs of the {phase} phase.",
        )
    flags.DEFINE_integer(
        "batch_size", _TASK.batch_size, "Images a step, over all replicas."
    )
    flags.DEFINE_enum(
        "optimizer", _TASK.optimizer, list(OPTIMIZERS), "Keras optimizer."
    )
    flags.DEFINE_float(
        "learning_rate", _TASK.learning_rate, "Peak rate of the train phase."
    )
    flags.DEFINE_float(
        "retrain_learning_rate",
        _TASK.retrain_learning_rate,
        "Peak rate of the retrain phase.",
    )
    flags.DEFINE_enum(
        "schedule",
        _TASK.schedule,
        list(SCHEDULES),
        "Learning rate: cosine (one decay to 0 over both phases), constant, or "
        "step (a tenth after half of each phase).",
    )
    flags.DEFINE_float(
        "warmup_share",
        _TASK.warmup_share,
        "Share of both phases, at the start, in which the rate of cosine rises "
        "from 0 to its peak.",
    )
    flags.DEFINE_float(
        "weight_decay", None, "Decoupled weight decay; default: Keras's own."
    )
    flags.DEFINE_float(
        "validation_share",
        _TASK.validation_share,
        "Share of the training images kept for validation.",
    )
    flags.DEFINE_string(
        "augment",
        _TASK.augment,
        "Augmentation beyond crops and flips: randaugment[:MAGNITUDE], "
        "mixup[:ALPHA], cutmix[:ALPHA], separated by commas.",
    )
    flags.DEFINE_integer("seed", _TASK.seed, "Seed of everything random.")
    define_run_flags()


def define_data_flags() -> None:
    """Flags of where a task's data is."""
    flags.DEFINE_string(
        "data",
        None,
        "An image folder (PATH/{train,test}/CLASS/*.jpg), a .npz file in "
        "Keras's layout, tfds:NAME[/CONFIG][:VERSION] or bundled:NAME. By "
        "default the data set that is registered under the task's name; "
        "--list_tasks shows them.",
    )
    flags.DEFINE_string("data_dir", None, "Folder of prepared TFDS data sets.")
    flags.DEFINE_enum(
        "crop",
        None,
        list(CROPS),
        "Cut images to their bounding boxes and squash them, or do not; by "
        "default as the paper does with the task.",
    )
    for role in ("image", "label"):
        flags.DEFINE_string(
            f"{role}_key", None, f"TFDS feature of the {role}; {role}."
        )
    flags.DEFINE_bool(
        "skip_corrupt", False, "Leave out images that cannot be read."
    )


def define_run_flags() -> None:
    """Flags of the machine and of the served model."""
    flags.DEFINE_integer(
        "replicas",
        None,
        "Devices to train on: all GPUs by default; on a CPU a number makes as "
        "many logical devices.",
    )
    define_serving_flags()


def define_serving_flags() -> None:
    """Flags of the served model."""
    flags.DEFINE_string(
        "model_name", "packnet", "Name of the model in TensorFlow Serving."
    )
    flags.DEFINE_enum(
        "serving_layout",
        LAYOUTS[0],
        list(LAYOUTS),
        "Memory or time of the served model: each task's view in memory of "
        "its own, or made in every call.",
    )


def given_network_options() -> dict[str, Any]:
    """Returns the network flags that the command line sets."""
    from packnet_tf.networks import parse_options

    given: dict[str, Any] = {}
    for name in NetworkOptions.__dataclass_fields__:
        if flags.FLAGS[name].present:
            given[name] = flags.FLAGS[name].value
    if "network_options" in given:
        given["network_options"] = parse_options(given["network_options"])
    return given


def task_options() -> TaskOptions:
    """Returns the task flags as checked options."""
    from packnet_tf.data.registry import task_name
    from packnet_tf.task import check_task_name

    values: dict[str, Any] = {
        name: flags.FLAGS[name].value
        for name in TaskOptions.__dataclass_fields__
    }
    values["task"] = check_task_name(task_name(values["task"]))
    values["phases"] = tuple(values["phases"])
    check_batch_size(values["batch_size"], flags.FLAGS.replicas or 1)
    return TaskOptions(**values)


def pairs(flag: str) -> dict[str, str]:
    """Returns the values of a repeatable NAME=VALUE flag as a dictionary."""
    found = {}
    for text in flags.FLAGS[flag].value or []:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise FlagError(f"--{flag}={text}: expected NAME=VALUE.")
        if name in found:
            raise FlagError(f"--{flag}: {name!r} is given twice; give it once.")
        found[name] = value
    return found


def workdir_path(*, writing: bool) -> pathlib.Path:
    """Returns `--workdir`, checked as far as can be without work.

    Args:
        writing: Whether it may be made; otherwise it has to exist.
    """
    path = pathlib.Path(flags.FLAGS.workdir)
    if not flags.FLAGS.workdir.strip():
        raise FlagError("--workdir=: expected a folder.")
    if writing:
        check_writable(path)
    elif not path.is_dir():
        raise FlagError(
            f"--workdir={path} does not exist; add a task first with "
            "apps/add_task.py."
        )
    return path
