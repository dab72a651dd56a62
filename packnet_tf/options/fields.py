"""How an option is declared: a dataclass field that knows its own limits.

From such a field follow the command-line flag, the check and its message, and
the row in docs/flags.md.
"""

import dataclasses
import math
import typing
from collections.abc import Callable, Iterator
from typing import Any

from packnet_tf.errors import FlagError

_KEY = "option"


@dataclasses.dataclass(frozen=True)
class Option:
    """What a field says of itself beyond its name, type and default.

    Attributes:
        help: What it is, for `--help` and docs/flags.md.
        choices: The legal values, if they can be listed.
        at_least: The smallest legal number.
        at_most: The largest legal number.
        above: A number that has to be exceeded.
        below: A number that must not be reached.
        check: Called with the value; raises what is wrong with it.
        parse: Makes the value of the flag's text.
        flag: Name of the flag, where it is not the field's name.
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
        # NaN and infinity are never legal, and every comparison says so.
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
        type: The type of its value, None aside: `str`, `int`, `float`,
            `bool`, `tuple`, `dict`, or `object` for a value of several types.
        default: Its default, or None if it has to be given.
        option: What the field says of itself.
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
        help: What it is, for `--help` and docs/flags.md.
        default: Its default; without one it has to be given.
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
    """Refuses a record with an option that is out of its limits.

    Args:
        record: An instance of a dataclass with fields made by `option`. None
            is legal where it is the default.

    Raises:
        FlagError: `--name=value: expected ...`.
        PackNetError: What an option's own check raises.
    """
    for one in declared(type(record)):
        value = getattr(record, one.name)
        if value is not None or one.default is not None:
            one.option.refuse(one.flag, value)


def _plain(annotation: Any) -> type:
    """Returns the type that an annotation such as `int | None` is about."""
    if annotation is Any:
        return object
    for part in typing.get_args(annotation):
        if typing.get_origin(annotation) in (tuple, dict):
            break
        if part is not type(None):
            return _plain(part)
    return typing.get_origin(annotation) or annotation
