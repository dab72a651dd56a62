"""The results of a comparison in figures: a row for each method."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from packnet_tf import metrics
from packnet_tf.compare.cell import Result
from packnet_tf.compare.intervals import Interval, deviation, paired
from packnet_tf.compare.plan import Plan
from packnet_tf.errors import StateError, first_line
from packnet_tf.storage import checksums

SCHEMA = 1
# The method that the others are compared with, seed by seed.
REFERENCE = "individual"


@dataclasses.dataclass(frozen=True)
class Row:
    """One method's results. Shares are from 0 to 1, the mean of the seeds.

    Attributes:
        method: Its name.
        learning_rate: The rate chosen on validation images; None if every
            rate of the list diverged.
        at_end_of_list: Whether that is the lowest or highest of several.
        seeds: The seeds that ended well.
        diverged: The seeds that diverged.
        tasks: Test accuracy on each task after the last one.
        accuracy: Their mean, the "average accuracy".
        deviation: Its standard deviation over the seeds, or None.
        difference: To the reference, of seeds that both have; or None.
        forgetting: See `metrics.forgetting`; None for tasks learned at once.
        backward_transfer: See `metrics.backward_transfer`, likewise.
        size: Bytes on disk of all tasks together.
        added: Bytes that each task after the first adds; None for one task,
            or tasks learned at once.
        seconds: Time of training, of all tasks together.
        latency: Milliseconds for one image.
    """

    method: str
    learning_rate: float | None
    at_end_of_list: bool = False
    seeds: tuple[int, ...] = ()
    diverged: tuple[int, ...] = ()
    tasks: tuple[float, ...] = ()
    accuracy: float | None = None
    deviation: float | None = None
    difference: Interval | None = None
    forgetting: float | None = None
    backward_transfer: float | None = None
    size: float | None = None
    added: float | None = None
    seconds: float | None = None
    latency: float | None = None


@dataclasses.dataclass(frozen=True)
class Summary:
    """A whole comparison, as `comparison.json` holds it.

    Attributes:
        schema: Version of the file's form.
        plan: What all cells share.
        rows: A row for each method.
        cells: The results that they come from.
    """

    schema: int
    plan: Plan
    rows: tuple[Row, ...]
    cells: tuple[Result, ...]

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks."""
        return [task.name for task in self.plan.tasks]


def summarize(
    plan: Plan,
    rates: Mapping[str, float | None],
    results: Mapping[str, Sequence[Result]],
) -> Summary:
    """Returns the summary of the cells that are finished.

    Args:
        plan: The comparison's plan.
        rates: The chosen learning rate of each method.
        results: Final results of each method.
    """
    reference = {r.seed: _mean(r) for r in _good(results.get(REFERENCE, ()))}
    listed = plan.learning_rates
    rows = []
    for method, rate in rates.items():
        found = results.get(method, ())
        good = _good(found)
        row = Row(
            method,
            rate,
            len(listed) > 2 and rate in (min(listed), max(listed)),
            tuple(r.seed for r in good),
            tuple(r.seed for r in found if r.diverged),
        )
        rows.append(_with_figures(row, good, reference) if good else row)
    cells = [r for method in rates for r in results.get(method, ())]
    return Summary(SCHEMA, plan, tuple(rows), tuple(cells))


def _with_figures(
    row: Row, results: Sequence[Result], reference: Mapping[int, float]
) -> Row:
    means = [_mean(r) for r in results]
    pairs = [
        (mean, reference[r.seed])
        for r, mean in zip(results, means, strict=True)
        if r.seed in reference
    ]
    matrices = [metrics.accuracy_matrix(r.test) for r in results]
    whole = [m for m in matrices if not np.any(np.isnan(np.diagonal(m)))]
    return dataclasses.replace(
        row,
        tasks=tuple(np.mean([m[-1] for m in matrices], axis=0).tolist()),
        accuracy=float(np.mean(means)),
        deviation=deviation(means),
        difference=(
            None
            if row.method == REFERENCE or not pairs
            else paired(*zip(*pairs, strict=True))
        ),
        forgetting=_average([metrics.forgetting(m) for m in whole]),
        backward_transfer=_average(
            [metrics.backward_transfer(m) for m in whole]
        ),
        size=_average([r.sizes[-1] for r in results]),
        added=_average([_added(r.sizes) for r in results]),
        seconds=_average([r.seconds for r in results]),
        latency=_average([r.latency for r in results]),
    )


def _good(results: Sequence[Result]) -> list[Result]:
    return [result for result in results if not result.diverged]


def _mean(result: Result) -> float:
    return metrics.average_accuracy(metrics.accuracy_matrix(result.test))


def _added(sizes: Sequence[int | None]) -> float | None:
    first, last = sizes[0], sizes[-1]
    if len(sizes) < 2 or first is None or last is None:
        return None
    return (last - first) / (len(sizes) - 1)


def _average(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def read_summary(path: pathlib.Path) -> Summary:
    """Reads `comparison.json`.

    Args:
        path: The file, or the folder that it is in.

    Raises:
        StateError: If there is none, or it is damaged or of a later release.
    """
    if path.is_dir():
        path = path / "comparison.json"
    try:
        content: Any = json.loads(path.read_bytes())
    except OSError as error:
        remedy = "give the folder of a comparison, or the comparison.json in it"
        raise checksums.unreadable(path, error, remedy) from error
    except (ValueError, RecursionError) as error:
        raise StateError(
            f"{path} is damaged: not JSON ({first_line(error)})."
        ) from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise StateError(
            f"{path} has schema {schema!r}, this release reads {SCHEMA}; use "
            "the release that wrote it."
        )
    return checksums.as_record(content, Summary, path)
