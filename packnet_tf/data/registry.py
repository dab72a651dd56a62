"""Registers, finds and lists tasks by name."""

import difflib
from collections.abc import Mapping

from packnet_tf import console
from packnet_tf.data.catalog import BUILTIN, TaskEntry, numbers, permuted
from packnet_tf.errors import DataError
from packnet_tf.options.data import NUMBERED, PERMUTED, task_name

_REGISTRY: dict[str, TaskEntry] = dict(BUILTIN)


def register(entry: TaskEntry) -> None:
    """Makes a task known by name, replacing any other of that name.

    Args:
        entry: The task.

    Raises:
        DataError: If it is not a `TaskEntry`.
    """
    if not isinstance(entry, TaskEntry):
        raise DataError(f"register() takes a TaskEntry; received {entry!r}.")
    _REGISTRY[entry.name] = entry


def registered() -> Mapping[str, TaskEntry]:
    """Returns the known tasks by name, without `permuted_mnist/SEED`."""
    return dict(_REGISTRY)


def find(name: str) -> TaskEntry | None:
    """Returns the entry of a task, or None if it is not registered.

    Args:
        name: Its name; see `task_name`.
    """
    name = task_name(name)
    if name in _REGISTRY:
        return _REGISTRY[name]
    head, _, seed = name.partition(".")
    number = seed.isascii() and seed.isdigit()  # No superscripts.
    if head != PERMUTED or not number or int(seed) >= 2**32:
        return None
    return permuted(_REGISTRY["mnist"], name, int(seed))


def unknown(name: str) -> str:
    """Returns an error message for a name that is not registered."""
    name = task_name(name)
    head = name.partition(".")[0]
    if head in NUMBERED:
        return f"Unknown task {name!r}: expected {numbers(head)}."
    if head == PERMUTED:
        return (
            f"Unknown task {name!r}: expected {PERMUTED}/SEED with a seed from "
            "0 to 2**32 - 1."
        )
    known = [n for n in sorted(_REGISTRY) if "." not in n]
    known += [*map(numbers, NUMBERED), f"{PERMUTED}/SEED"]
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"Unknown task {name!r}: did you mean {' or '.join(close)}?"
    return f"Unknown task {name!r}: expected one of {', '.join(known)}."


def no_data(entry: TaskEntry) -> DataError:
    """Returns the error of a task whose data the user must give."""
    return DataError(
        f"The data of task {entry.name!r} is not in TFDS. It needs "
        f"{entry.needs}."
    )


def table() -> str:
    """Returns all known tasks as a table of text."""
    shown: dict[str, TaskEntry] = {}
    for entry in _REGISTRY.values():
        head = entry.name.partition(".")[0]
        # The first of the numbered tasks stands for all of them.
        name = numbers(head) if head in NUMBERED else entry.name
        shown.setdefault(name, entry)
    shown[f"{PERMUTED}/SEED"] = _REGISTRY["mnist"]
    return console.table(
        ["task", "classes", "train images", "test images", "data", "needs"],
        [_row(name, entry) for name, entry in shown.items()],
        left=(0, 4, 5),
    )


def _row(name: str, entry: TaskEntry) -> tuple[str, ...]:
    train, test = entry.counts or ("", "")
    return (
        name,
        str(entry.classes or ""),
        f"{train:,}" if train else "",
        f"{test:,}" if test else "",
        entry.data or "folder",
        entry.needs,
    )
