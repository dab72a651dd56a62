"""Flags that the apps share, and how they become options."""

import contextlib
import os
import pathlib
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from absl import app, flags, logging

# Ctrl-C during the imports ends them in silence: nothing has begun.
_HANDLER = signal.getsignal(signal.SIGINT)
if _HANDLER is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# TensorFlow's own remarks hide what the apps say; set it to 0 to see them.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drops what native code writes to stderr, whatever its log level."""
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0":
        yield
        return
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


with _quiet():
    import tensorflow as tf

from packnet_tf.data.tasks import CROPS
from packnet_tf.errors import FlagError, PackNetError
from packnet_tf.options import (
    OPTIMIZERS,
    PHASES,
    SCHEDULES,
    NetworkOptions,
    TaskOptions,
    check_batch_size,
    check_writable,
)
from packnet_tf.pruning import GRANULARITIES, SCOPES
from packnet_tf.stored import LAYOUTS

if _HANDLER is signal.default_int_handler:
    signal.signal(signal.SIGINT, _HANDLER)

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
        "base_task", _NETWORK.base_task, "Name of the pretrained weights' task."
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
        "mean magnitude; the fraction is then one of channels.",
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


def _stop_now(message: str, code: int) -> NoReturn:
    """Ends the process with a line; nothing is left to be finished."""
    sys.stdout.flush()
    # A terminal shows ^C where the progress bar was.
    start = "\n" if sys.stderr.isatty() else ""
    sys.stderr.write(f"{start}{message}\n")
    sys.stderr.flush()
    # Threads of an unfinished epoch would hold up the end, or spoil it.
    os._exit(code)


def run(
    main: Callable[[], None], *required: str, unless: str | None = None
) -> None:
    """Runs an app: its errors are one line, and exit with code 1.

    Ctrl-C exits with code 130, as shells have it.

    Args:
        main: The app, without arguments.
        *required: Flags that have to be given.
        unless: A flag with which nothing else is needed.
    """
    for name in required:
        flags.register_multi_flags_validator(
            [name, unless] if unless else [name],
            lambda values, name=name: (
                values[name] is not None or bool(values.get(unless))
            ),
            message=f"Flag --{name} must have a value other than None.",
        )

    def guarded(argv):
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
            # Its warnings are of functions that are traced again, which
            # replicas and tasks of their own need.
            tf.get_logger().setLevel("ERROR")
        try:
            if len(argv) > 1:
                raise FlagError(
                    f"Unexpected argument {argv[1]!r}; every option is a flag "
                    "of the form --name=value."
                )
            main()
        except PackNetError as error:
            sys.exit(f"error: {error}")
        except KeyboardInterrupt:
            _stop_now(
                "interrupted; what is finished is kept, the last epoch too. "
                "Run the same command again to go on.",
                130,
            )
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            what = str(error).strip().splitlines() or ["no more to be had"]
            sys.exit(
                f"error: out of memory ({what[0][:120]}); what is finished is "
                "kept. Run the same command again with fewer other programs, "
                "or begin the task anew (apps/undo.py) with a smaller "
                "--batch_size."
            )

    app.run(guarded)
