"""Checks the constructor options of a network."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from packnet_tf.errors import NetworkError


def defaults_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Returns a function's optional arguments with their default values."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not parameter.empty
    }


def check_options(
    network: str, options: Mapping[str, Any], defaults: Mapping[str, Any]
) -> None:
    """Refuses unknown options, and values of the wrong type.

    Args:
        network: Its name, for the message.
        options: The options.
        defaults: The network's options with their default values.

    Raises:
        NetworkError: Naming the known options, or what was expected.
    """
    for option, value in options.items():
        if option not in defaults:
            close = difflib.get_close_matches(str(option), defaults, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise NetworkError(
                f"--network_options: {network} has no option {option!r}"
                f"{hint}; it has {', '.join(sorted(defaults)) or 'none'}."
            )
        expected = _kind(defaults[option])
        number = expected == "a number" and _kind(value) == "a whole number"
        if expected and _kind(value) != expected and not number:
            raise NetworkError(
                f"--network_options: {option}={value!r} of {network} must be "
                f"{expected}."
            )


def check_counts(network: str, **counts: int) -> None:
    """Refuses options of a network that are less than 1.

    Args:
        network: Name of the network, for the message.
        **counts: The options.
    """
    for option, value in counts.items():
        if value < 1:
            raise NetworkError(
                f"--network_options: {option}={value!r} of {network} must be "
                "1 or more."
            )


def check_shares(network: str, **shares: float) -> None:
    """Refuses options of a network that are not from 0 to below 1.

    Args:
        network: Name of the network, for the message.
        **shares: The options.
    """
    for option, value in shares.items():
        if not 0 <= value < 1:
            raise NetworkError(
                f"--network_options: {option}={value!r} of {network} must be "
                "at least 0 and less than 1."
            )


def check_image_size(network: str, image_size: int, least: int) -> None:
    """Refuses images that are too small for a network.

    Args:
        network: Name of the network, for the message.
        image_size: Height and width, in pixels.
        least: The smallest that can be used.
    """
    if image_size < least:
        raise NetworkError(
            f"--image_size={image_size}: {network} needs {least} pixels or "
            "more."
        )


def _kind(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int):
        return "a whole number"
    return "a number" if isinstance(value, float) else None
