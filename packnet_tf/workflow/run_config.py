"""What a workdir remembers of its network, and how that is compared."""

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

from packnet_tf.errors import NetworkError, PackNetError, StateError
from packnet_tf.options.network import NetworkOptions
from packnet_tf.storage.workdir import Workdir


def facts_of(options: NetworkOptions) -> dict[str, Any]:
    """Returns what `run.json` holds of a network's options.

    A weights file is known by its content, so that it may move.

    Raises:
        NetworkError: If the file cannot be read.
    """
    facts = dataclasses.asdict(options)
    facts["weights"] = _identity(
        "weights", options.weights, ("imagenet", "none")
    )
    if options.network.endswith(".keras"):
        facts["network"] = _identity(
            "network", options.network, ("the name of a network",)
        )
    return json.loads(json.dumps(facts))


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
    """Returns the network's options: those of the workdir, and those given.

    Args:
        workdir: The workdir; where it has a network, that one's options are
            the defaults.
        given: The options that the user gave, by name.

    Raises:
        StateError: If one that was given is not what the workdir was begun
            with.
        FlagError: If one has a value that cannot be used.
    """
    run = workdir.run
    if run is None:
        return NetworkOptions(**given)
    unknown = sorted(run.keys() - NetworkOptions.__dataclass_fields__.keys())
    if unknown:
        raise StateError(
            f"{workdir.run_path} has facts that this release does not know: "
            f"{', '.join(unknown)}; use the release that wrote it."
        )
    try:
        options = NetworkOptions(**{**run, **given})
        facts = facts_of(options)
    except PackNetError:
        raise
    except (TypeError, ValueError, AttributeError) as error:
        raise StateError(
            f"{workdir.run_path} is damaged ({error}); restore it from a "
            "copy, or use another workdir."
        ) from error
    workdir.compare(facts)
    return options
