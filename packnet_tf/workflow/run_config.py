"""Converts a network's options to `run.json`, and merges them with new ones."""

import dataclasses
import hashlib
import pathlib
from typing import Any

from packnet_tf.errors import NetworkError
from packnet_tf.options.network import NetworkOptions
from packnet_tf.storage.workdir import Workdir


def facts_of(options: NetworkOptions) -> NetworkOptions:
    """Returns a network's options as `run.json` holds them.

    A file is identified by its content, so that it may move.

    Raises:
        NetworkError: If the file cannot be read.
    """
    network = options.network
    if network.endswith(".keras"):
        network = _identity("network", network, ("the name of a network",))
    weights = _identity("weights", options.weights, ("imagenet", "none"))
    return dataclasses.replace(options, network=network, weights=weights)


def _identity(flag: str, value: str, plain: tuple[str, ...]) -> str:
    if value in plain or value.startswith("file:"):
        return value
    try:
        content = pathlib.Path(value).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        expected = ", ".join([*plain, "or the path of a file"])
        raise NetworkError(
            f"--{flag}={value} cannot be read ({reason}); expected {expected}."
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    return f"file:{pathlib.Path(value).name}:{digest[:16]}"


def network_options_of(
    workdir: Workdir, given: dict[str, Any]
) -> NetworkOptions:
    """Returns the network's options: the user's, and the workdir's as defaults.

    Args:
        workdir: The workdir.
        given: The options that the user gave, by name.

    Raises:
        StateError: If one of them differs from the workdir's.
        FlagError: If one of them is invalid.
    """
    run = workdir.run
    if run is None:
        return NetworkOptions(**given)
    options = dataclasses.replace(run, **given)
    workdir.compare(facts_of(options))
    return options
