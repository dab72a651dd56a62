"""Declares options as dataclass fields that have limits and help.

The command-line flag, the check, its message and the row in docs/flags.md all
come from the field.
"""

import dataclasses
import functools
import math
import typing
from collections.abc import Callable, Iterator
from typing import Any

from packnet_tf.errors import FlagError

_KEY = "option"

# The groups of options, in the order in which they are shown.
GENERAL = "General"
NETWORK = "Network"
DATA = "Data"
TRAINING = "Training"
PRUNING = "Pruning"
SERVING = "Serving"
GROUPS = (GENERAL, NETWORK, DATA, TRAINING, PRUNING, SERVING)


@dataclasses.dataclass(frozen=True)
class Option:
    """An option's properties beyond its name, type and default.

    Attributes:
        help: Its description, for `--help` and docs/flags.md.
        choices: The legal values, if they can be listed.
        at_least: The smallest legal number.
        at_most: The largest legal number.
        above: An exclusive lower limit.
        below: An exclusive upper limit.
        check: Called with the value; raises an error if it is illegal.
        parse: Converts the flag's text to the value.
        flag: Name of the flag, if it differs from the field's.
        group: The one of `GROUPS` under which it is shown.
        basic: Whether `--help` shows it, and not `--helpfull` alone.
    """

    help: str
    choices: tuple[str, ...] = ()
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    check: Callable[[Any], Any] | None = None
    parse: Callable[[Any], Any] | None = None
    flag: str = ""
    group: str = GENERAL
    basic: bool = False

    def refuse(self, flag: str, value: Any) -> None:
        """Raises a `FlagError` that names the flag if the value is illegal."""
        if self.choices and value not in self.choices:
            expected = f"one of {', '.join(self.choices)}"
        elif self._is_number and not self._within(value):
            expected = self._range
        else:
            if self.check is not None:
                self.check(value)
            return
        raise FlagError(f"--{flag}={value}: expected {expected}.")

    @property
    def _is_number(self) -> bool:
        return self.at_least is not None or self.above is not None

    def _within(self, value: float) -> bool:
        # Every comparison also excludes NaN and infinity.
        low = value > self.above if self.above is not None else True
        if self.at_least is not None:
            low = value >= self.at_least
        most = math.inf if self.below is None else self.below
        high = value < most
        if self.at_most is not None:
            high = value <= self.at_most
        return low and high

    @property
    def _range(self) -> str:
        if self.above is not None:
            return f"more than {self.above}"
        if self.at_most is not None:
            return f"{self.at_least} to {self.at_most}"
        if self.below is not None:
            return f"at least {self.at_least} and less than {self.below}"
        return f"{self.at_least} or more"


@dataclasses.dataclass(frozen=True)
class Declared:
    """An option as a record declares it.

    Attributes:
        name: The field's name.
        flag: The flag's name.
        type: The type of its value apart from None: `str`, `int`, `float`,
            `bool`, `tuple`, `dict`, or `object` for a value of several types.
        default: Its default, or None if the option is required.
        option: The field's `Option`.
    """

    name: str
    flag: str
    type: type
    default: Any
    option: Option


def option(
    help: str,
    default: Any = dataclasses.MISSING,
    *,
    default_factory: Any = dataclasses.MISSING,
    **how: Any,
) -> Any:
    """Declares an option: the value of a field in a dataclass.

    Args:
        help: Its description, for `--help` and docs/flags.md.
        default: Its default; without one the option is required.
        default_factory: As for `dataclasses.field`.
        **how: Its limits; see `Option`.

    Example:

    >>> @dataclasses.dataclass(frozen=True)
    ... class Bakery:
    ...     ovens: int = option("How many ovens.", 1, at_least=1)
    >>> [(d.flag, d.default) for d in declared(Bakery)]
    [('ovens', 1)]
    """
    given = {"default": default, "default_factory": default_factory}
    return dataclasses.field(
        **{k: v for k, v in given.items() if v is not dataclasses.MISSING},
        metadata={_KEY: Option(help, **how)},
    )


def options_of(group: str) -> Callable[..., Any]:
    """Returns `option` for the options of one group.

    Args:
        group: One of `GROUPS`.
    """
    return functools.partial(option, group=group)


def declared(record: type) -> Iterator[Declared]:
    """Yields the options of a record, in their order.

    Args:
        record: A dataclass with fields made by `option`.
    """
    types = typing.get_type_hints(record)
    for field in dataclasses.fields(record):
        option = field.metadata[_KEY]
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        yield Declared(
            field.name,
            option.flag or field.name,
            _plain(types[field.name]),
            None if default is dataclasses.MISSING else default,
            option,
        )


def check(record: Any) -> None:
    """Refuses a record with an option outside its limits.

    Args:
        record: An instance of a dataclass with fields made by `option`. None
            is legal where it is the default.

    Raises:
        FlagError: `--name=value: expected ...`.
        PackNetError: From an option's own check.
    """
    for one in declared(type(record)):
        value = getattr(record, one.name)
        if value is not None or one.default is not None:
            one.option.refuse(one.flag, value)


def _plain(annotation: Any) -> type:
    """Returns an annotation's type, such as int for `int | None`."""
    if annotation is Any:
        return object
    for part in typing.get_args(annotation):
        if typing.get_origin(annotation) in (tuple, dict):
            break
        if part is not type(None):
            return _plain(part)
    return typing.get_origin(annotation) or annotation
