"""Reads and writes `run.json`, the options of a workdir's network.

It is written once. The manifest of every packed state has its digest.
"""

import dataclasses
import pathlib
from typing import Any

import msgspec

from packnet_tf.errors import StateError, first_line
from packnet_tf.options.network import NetworkOptions
from packnet_tf.storage import checksums

REMEDY = (
    "restore it from a copy, or remove it and give apps/add_task.py the flags "
    "of the network that its first command had"
)
_SCHEMA = 1
_OPTIONS = frozenset(NetworkOptions.__dataclass_fields__)


@dataclasses.dataclass(frozen=True)
class _Run:
    """The content of `run.json`: options of the network, by name."""

    schema: Any
    facts: dict[str, Any]


def parse(content: bytes, path: pathlib.Path) -> NetworkOptions:
    """Returns the options that a file's bytes hold.

    Args:
        content: The bytes.
        path: The file, for the message.

    Raises:
        StateError: If it is damaged or of a later release.
    """
    try:
        record = msgspec.json.decode(content, type=_Run)
        if record.schema != _SCHEMA:
            raise StateError(
                f"{path} has schema {record.schema!r}, this release reads "
                f"{_SCHEMA}; use the release that wrote it."
            )
        unknown = sorted(record.facts.keys() - _OPTIONS)
        if unknown:
            raise StateError(
                f"{path} has facts that this release does not know: "
                f"{', '.join(unknown)}; use the release that wrote it."
            )
        return msgspec.convert(record.facts, NetworkOptions)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise StateError(
            f"{path} is damaged ({first_line(error)}); {REMEDY}."
        ) from error


def format_run(network: NetworkOptions) -> bytes:
    """Returns the content of `run.json` for a network's options."""
    return checksums.json_bytes(_Run(_SCHEMA, vars(network)))
