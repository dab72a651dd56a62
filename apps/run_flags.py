"""Defines the flags that the apps share, and reads them as options."""

import dataclasses
import os
import pathlib
import sys
from collections.abc import Callable, Collection
from typing import Any

from absl import flags

from packnet_tf.errors import FlagError, first_line
from packnet_tf.options import fields
from packnet_tf.options.cluster import Cluster, parse_cluster
from packnet_tf.options.data import DataOptions, task_name
from packnet_tf.options.fields import DATA, NETWORK, TRAINING, Option
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.serving import ServingConfig
from packnet_tf.options.task import TaskOptions, check_batch_size
from packnet_tf.options.workdir import check_writable
from packnet_tf.task import check_task_name

_DEFINE: dict[type, Callable[..., Any]] = {
    bool: flags.DEFINE_bool,
    float: flags.DEFINE_float,
    int: flags.DEFINE_integer,
    list: flags.DEFINE_multi_string,
    tuple: flags.DEFINE_list,
}

# The app's flags as options, in the order in which they were defined.
OPTIONS: dict[str, Option] = {}


def add(name: str, kind: type, default: Any, how: Option) -> None:
    """Defines one flag.

    Args:
        name: Its name.
        kind: The type of its value; `list` for a flag that may be repeated.
        default: Its default, or None.
        how: Its description, choices and group.
    """
    if how.choices:
        flags.DEFINE_enum(name, default, [*how.choices], how.help)
    elif kind in _DEFINE:
        value = [*map(str, default or ())] if kind is tuple else default
        _DEFINE[kind](name, value, how.help)
    else:
        # An empty dict becomes an empty string.
        text = None if default is None else str(default or "")
        flags.DEFINE_string(name, text, how.help)
    OPTIONS[name] = how


add(
    "workdir",
    str,
    None,
    Option(
        "Folder of the network: its packed states, SavedModels and logs.",
        basic=True,
    ),
)


def define(
    record: type,
    *,
    basic: bool | None = None,
    without: Collection[str] = (),
    **defaults: Any,
) -> None:
    """Defines a flag for every option of a record.

    Args:
        record: A dataclass of options.
        basic: Whether `--help` shows them; by default as they are declared.
        without: Options that have no flag, by name.
        **defaults: Defaults other than the record's, by name.
    """
    for one in fields.declared(record):
        if one.name in without:
            continue
        how = one.option
        if basic is not None:
            how = dataclasses.replace(how, basic=basic)
        default = defaults.get(one.name, one.default)
        add(one.flag, one.type, default, how)


def values(
    record: type, *, given: bool = False, without: Collection[str] = ()
) -> dict[str, Any]:
    """Returns the values of a record's flags, by the names of its fields.

    Args:
        record: A dataclass of options whose flags are defined.
        given: Whether to return only flags that the command line sets.
        without: Options that have no flag.
    """
    found = {}
    for one in fields.declared(record):
        if one.name in without:
            continue
        flag = flags.FLAGS[one.flag]
        if given and not flag.present:
            continue
        parse = one.option.parse
        found[one.name] = parse(flag.value) if parse else flag.value
    return found


def define_network_flags(*, basic: bool | None = None) -> None:
    """Flags of the network; fixed by the first command on a workdir.

    Args:
        basic: As for `define`.
    """
    define(NetworkOptions, basic=basic)
    add(
        "base_data",
        str,
        None,
        Option(
            "Labelled images of the base task, which recovers on them unless "
            "--base_recovery says otherwise; places as in --data.",
            group=NETWORK,
        ),
    )
    add(
        "base_images",
        str,
        None,
        Option(
            "Unlabelled images that the base task is fitted on once it is "
            "pruned, best of its own kind: a folder, or a place as in --data; "
            "by default those of --base_data, or of the first added task.",
            group=NETWORK,
        ),
    )


def define_task_flags(**defaults: Any) -> None:
    """Flags of one task's data and training.

    Args:
        **defaults: The app's own defaults, by name.
    """
    define(TaskOptions, **defaults)
    define(DataOptions)
    define_run_flags()


def define_run_flags(*, basic: bool | None = None) -> None:
    """Flags of the machine and of the served model.

    Args:
        basic: As for `define`.
    """
    add(
        "replicas",
        int,
        None,
        Option(
            "Devices to train on: by default all GPUs, or one CPU; on a CPU a "
            "number makes as many logical devices.",
            group=TRAINING,
        ),
    )
    add(
        "strategy",
        str,
        "mirrored",
        Option(
            "Train on the devices of this machine (mirrored), or of all "
            "processes that TF_CONFIG names (multi_worker), which run the same "
            "command; see docs/workers.md.",
            choices=("mirrored", "multi_worker"),
            group=TRAINING,
        ),
    )
    define(ServingConfig, basic=basic)


def define_state_flag() -> None:
    """The flag of the packed state that an app reads."""
    add(
        "state",
        str,
        None,
        Option(
            "Packed state, by number or name; by default the newest.",
            basic=True,
        ),
    )


def define_forecast_flag() -> None:
    """The flag of the fraction that further tasks are pruned by."""
    add(
        "prune_fraction",
        float,
        0.75,
        Option("Fraction for the forecast of further tasks.", basic=True),
    )


def define_test_data_flags() -> None:
    """Flags of the test data that tasks answer on."""
    add(
        "data",
        list,
        [],
        Option(
            "NAME=PLACE: where a task's test data is, for data that has moved "
            "or was never given; places as in apps/add_task.py. Repeatable.",
            basic=True,
        ),
    )
    add(
        "data_dir",
        str,
        None,
        Option("Folder of prepared TFDS data sets.", group=DATA),
    )
    add("batch_size", int, 32, Option("Images per step.", group=TRAINING))


def task_options() -> TaskOptions:
    """Returns the task flags as checked options."""
    found = values(TaskOptions)
    found["task"] = check_task_name(task_name(found["task"]))
    check_replicas(found["batch_size"])
    return TaskOptions(**found)


def cluster() -> Cluster | None:
    """Returns the workers of `--strategy=multi_worker`, or None."""
    flag = flags.FLAGS
    if flag.strategy == "mirrored":
        return None
    if flag.replicas is not None:
        raise FlagError(
            f"--replicas={flag.replicas} with --strategy=multi_worker: each "
            "worker trains on all its GPUs, or else its CPU; leave --replicas "
            "out."
        )
    return parse_cluster(os.environ.get("TF_CONFIG"))


def check_replicas(batch_size: int) -> None:
    """Refuses replicas of which one would have no image.

    Args:
        batch_size: Images per step.
    """
    found = cluster()
    least = flags.FLAGS.replicas or 1 if found is None else len(found.workers)
    check_batch_size(batch_size, least)


def make_strategy() -> Any:
    """Returns the strategy that the flags ask for.

    Of several workers, all but the chief print nothing but errors from here
    on. Call it before TensorFlow has used a device: a CPU can be split among
    replicas, and workers can find each other, only before.
    """
    from packnet_tf.model import replicas

    found = cluster()
    if found is not None and not found.is_chief:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    return replicas.make_strategy(flags.FLAGS.replicas, found)


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


def path_of(flag: str) -> pathlib.Path:
    """Returns the value of a flag as a path.

    Shells leave the `~` of `--workdir=~/m` as it is.

    Args:
        flag: The flag's name.
    """
    text = str(flags.FLAGS[flag].value)
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError as error:
        raise FlagError(f"--{flag}={text}: {first_line(error)}") from error


def workdir_path(*, writing: bool) -> pathlib.Path:
    """Returns `--workdir` after quick checks.

    Args:
        writing: Whether it may be created; otherwise it must exist.
    """
    path = path_of("workdir")
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
