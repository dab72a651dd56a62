"""The folder of a comparison: its plan, and a file for each finished cell.

comparison/
  plan.json               budget, network, tasks: written once
  cells/packnet-0.001-0.json
  comparison.json         the table, for programs and the report
  comparison.txt          the table, for people
  work/                   files of the cell in progress
  lock
"""

import contextlib
import json
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any, TypeVar

from packnet_tf import atomic_files
from packnet_tf.compare.cell import Result
from packnet_tf.compare.plan import Plan, check_same
from packnet_tf.errors import StateError, first_line
from packnet_tf.storage import checksums
from packnet_tf.storage.lock import Lock
from packnet_tf.storage.workdir import Workdir

_Record = TypeVar("_Record")


class Folder:
    """The folder of one comparison.

    Args:
        path: The folder; it need not exist.

    Raises:
        StateError: If it is the workdir of a network.
    """

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.json_path = path / "comparison.json"
        self.text_path = path / "comparison.txt"
        self._plan_path = path / "plan.json"
        self._lock = Lock(path / "lock")
        workdir = Workdir(path)
        if workdir.run_path.exists() or workdir.states_path.exists():
            raise StateError(
                f"{path} is the workdir of a network; give a comparison "
                "another --workdir."
            )

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Makes this process the one that runs cells."""
        with self._lock.held():
            yield

    def check(self, plan: Plan) -> Plan:
        """Returns the plan that is recorded, or the given one.

        Args:
            plan: What options and data make.

        Raises:
            StateError: If the recorded one is another; see `check_same`.
        """
        before = _read(self._plan_path, Plan)
        if before is None:
            return plan
        check_same(before, plan, self.path)
        return before

    def begin(self, plan: Plan) -> None:
        """Records the plan, unless there is one."""
        if not self._plan_path.exists():
            content = checksums.json_bytes(plan)
            atomic_files.write_file(self._plan_path, content)

    def cell_path(
        self, method: str, rate: float, seed: int, tuning: bool
    ) -> pathlib.Path:
        """Returns the file of a cell, whether it exists or not."""
        kind = "-tuning" if tuning else ""
        return self.path / "cells" / f"{method}-{rate!r}-{seed}{kind}.json"

    def result(
        self, method: str, rate: float, seed: int, *, tuning: bool = False
    ) -> Result | None:
        """Returns the result of a cell, or None if it has not been run.

        Args:
            method: The method's name.
            rate: The learning rate.
            seed: The seed.
            tuning: Whether the cell is one that chooses the rate.

        Raises:
            StateError: If its file is damaged.
        """
        return _read(self.cell_path(method, rate, seed, tuning), Result)

    def keep(self, result: Result, *, tuning: bool) -> None:
        """Writes the result of a cell.

        Args:
            result: The result.
            tuning: As for `result`.
        """
        path = self.cell_path(
            result.method, result.learning_rate, result.seed, tuning
        )
        atomic_files.write_file(path, checksums.json_bytes(result))

    @contextlib.contextmanager
    def work(self) -> Iterator[pathlib.Path]:
        """Makes an empty folder for a cell, and removes it afterwards."""
        path = self.path / "work"
        # An interrupted cell leaves its own.
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def _read(path: pathlib.Path, kind: type[_Record]) -> _Record | None:
    """Returns the record in a JSON file, or None if there is no file."""
    content = checksums.content_of(path)
    if content is None:
        return None
    try:
        values: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise StateError(
            f"{path} is damaged: not JSON ({first_line(error)}); remove it to "
            "have it made again."
        ) from error
    return checksums.as_record(values, kind, path)
