"""Threads and callbacks: who is inside a network, and for which task."""

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

from packnet_tf.errors import PhaseError
from packnet_tf.task import Task

# They add up the same metrics.
_ALONE = frozenset({"fit", "evaluate", "train_on_batch", "test_on_batch"})


@dataclasses.dataclass(frozen=True)
class _Run:
    method: str
    key: Any
    task: str


class _Thread(threading.local):
    task: Task | None = None
    turn: int = 0


class Turns:
    """Refuses what one thread must not do while another one is inside.

    Which task is active holds for all threads. So none may change it while
    another one is in the middle of `fit`, `evaluate` or `predict`, and a
    thread whose choice another thread has undone is told so.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._inside: dict[int, list[_Run]] = {}
        self._thread = _Thread()
        self._turn = 0

    @contextlib.contextmanager
    def alone(self, step: str) -> Iterator[None]:
        """Lets one thread change what is active.

        Args:
            step: The method, for the message.

        Raises:
            PhaseError: If another thread is inside the network.
        """
        with self._lock:
            self.refuse_others(step)
            yield

    def refuse_others(self, step: str) -> None:
        """Refuses a step while another thread is inside the network.

        Args:
            step: What is called, for the message.

        Raises:
            PhaseError: If there is one.
        """
        with self._lock:
            others = self._others()
        if others:
            raise PhaseError(
                f"{step} while another thread is inside {others[0].method}() "
                f"of task {others[0].task!r}: all threads share the active "
                "task. Use net.as_model(name) in threads, or a lock around "
                "both calls."
            )

    def entered(self, task: Task) -> None:
        """Notes that this thread has made a task the active one."""
        with self._lock:
            self._turn += 1
            self._thread.task, self._thread.turn = task, self._turn

    def check_thread(self, active: Task | None) -> None:
        """Refuses to answer for a task that this thread did not choose.

        Raises:
            PhaseError: If this thread made a task active, and another thread
                a different one since.
        """
        own = self._thread
        if own.turn not in (0, self._turn) and own.task is not active:
            chosen = own.task.name if own.task else None
            raise PhaseError(
                f"This thread activated task {chosen!r}, but another "
                f"thread has activated {active.name if active else None!r} "
                "since. Use net.as_model(name) in threads, or a lock around "
                "activate() and what follows."
            )

    @contextlib.contextmanager
    def inside(
        self, method: str, key: Any, active: Task | None
    ) -> Iterator[None]:
        """Notes that this thread is inside a method of the network.

        Args:
            method: Its name.
            key: All that its programs depend on.
            active: The task that it runs for.

        Raises:
            PhaseError: If another thread is inside a method that cannot run
                at the same time, or has chosen another task.
        """
        thread = threading.get_ident()
        with self._lock:
            self.check_thread(active)
            others = [run for run in self._others() if run.method in _ALONE]
            if method in _ALONE and others:
                raise PhaseError(
                    f"{method}() while another thread is inside "
                    f"{others[0].method}(): both would add to the same "
                    "metrics. Let one wait for the other, or evaluate "
                    "net.as_model(name)."
                )
            run = _Run(method, key, active.name if active else "")
            self._inside.setdefault(thread, []).append(run)
        try:
            yield
        finally:
            with self._lock:
                runs = self._inside[thread]
                runs.pop()
                if not runs:
                    del self._inside[thread]

    def check_task(self, key: Any, active: Task | None) -> None:
        """Refuses to go on for another task than the method began with.

        Args:
            key: What the programs depend on now.
            active: The task that is active now.

        Raises:
            PhaseError: If a callback has left another task active.
        """
        runs = self._inside.get(threading.get_ident())
        if runs and runs[-1].key != key:
            run = runs[-1]
            name = active.name if active else None
            raise PhaseError(
                f"{run.method}() runs for task {run.task!r}, but a callback "
                f"left {name!r} active (phase "
                f"{active.phase if active else None}); let it end with "
                f"activate({run.task!r})."
            )

    def _others(self) -> list[_Run]:
        mine = threading.get_ident()
        return [runs[-1] for i, runs in self._inside.items() if i != mine]
