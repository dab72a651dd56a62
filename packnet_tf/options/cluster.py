"""The processes of a training job, as `TF_CONFIG` names them."""

import dataclasses
import json
from typing import Any

from packnet_tf.errors import FlagError, first_line

VARIABLE = "TF_CONFIG"
_EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers of a job, and which of them this process is.

    Attributes:
        workers: Their addresses, `HOST:PORT`; the first is the chief, which
            alone writes.
        index: The place of this process among them.
    """

    workers: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.index == 0


def parse_cluster(text: str | None) -> Cluster:
    """Returns the cluster that a value of `TF_CONFIG` describes.

    Args:
        text: The value of the environment variable, or None if it is not set.

    Raises:
        FlagError: Saying what it lacks.

    Example:

    >>> parse_cluster(
    ...     '{"cluster": {"worker": ["a:1", "b:1"]},'
    ...     ' "task": {"type": "worker", "index": 1}}'
    ... )
    Cluster(workers=('a:1', 'b:1'), index=1)
    """
    if text is None or not text.strip():
        raise _refusal("is not set", f"for example {_EXAMPLE}")
    try:
        found = json.loads(text)
    except ValueError as error:
        raise _refusal(f"is no JSON ({first_line(error)})", _EXAMPLE) from error
    cluster = found.get("cluster") if isinstance(found, dict) else None
    task = found.get("task") if isinstance(found, dict) else None
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise _refusal('lacks "cluster" or "task", each an object', _EXAMPLE)
    others = sorted(cluster.keys() - {"chief", "worker"})
    if others:
        raise _refusal(
            f'has "{others[0]}" in its cluster', '"worker" and "chief" alone'
        )
    jobs = {name: _addresses(name, cluster.get(name)) for name in _JOBS}
    if len(jobs["chief"]) > 1:
        raise _refusal(f"has {len(jobs['chief'])} chiefs", "one at most")
    workers = jobs["chief"] + jobs["worker"]
    twice = [a for a in workers if workers.count(a) > 1]
    if not workers or twice:
        what = f"names {twice[0]} twice" if twice else "names no worker"
        raise _refusal(what, "one HOST:PORT for each process")
    kind, index = task.get("type"), task.get("index")
    if kind not in _JOBS or not jobs[kind]:
        raise _refusal(
            f"says that this process is of type {kind!r}",
            " or ".join(f'"{name}"' for name in _JOBS if jobs[name]),
        )
    if type(index) is not int or not 0 <= index < len(jobs[kind]):
        raise _refusal(
            f"says that this process is {kind} {index!r}",
            f"a number from 0 to {len(jobs[kind]) - 1}",
        )
    before = len(jobs["chief"]) if kind == "worker" else 0
    return Cluster(workers, before + index)


_JOBS = ("chief", "worker")


def _addresses(name: str, found: Any) -> tuple[str, ...]:
    if found is None:
        return ()
    if not isinstance(found, list):
        raise _refusal(
            f'has "{name}": {found!r} in its cluster', "a list of HOST:PORT"
        )
    for address in found:
        host, _, port = str(address).rpartition(":")
        is_number = port.isascii() and port.isdigit()
        if not (isinstance(address, str) and host and is_number):
            raise _refusal(f"names the {name} {address!r}", "HOST:PORT")
    return tuple(found)


def _refusal(what: str, expected: str) -> FlagError:
    return FlagError(
        f"--strategy=multi_worker: {VARIABLE} {what}; expected {expected} "
        "(docs/workers.md)."
    )
