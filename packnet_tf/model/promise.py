"""The proof that packed tasks are what they were when they were packed."""

from collections.abc import Sequence

import numpy as np

from packnet_tf.errors import PromiseError
from packnet_tf.masks import digests
from packnet_tf.model.tasks import MultiTask
from packnet_tf.task import Task


class Proven(MultiTask):
    """A network that knows its tasks' digests, as they are and were."""

    def digest_of(self, name: str) -> str:
        """Returns a task's digest as it is now (hexadecimal SHA-256)."""
        return self._digests([self.task(name)])[0]

    def _digests(self, tasks: Sequence[Task]) -> list[str]:
        self._refuse_grown()
        if not tasks:
            return []
        owned = digests.kernel_digests(
            [
                (np.asarray(k.variable), np.asarray(k.mask))
                for k in self.masked_kernels()
            ],
            max(task.owner for task in tasks),
        )
        constants = [np.asarray(v) for v in self._bank.constants]
        return [
            digests.task_digest(
                owned[: task.owner],
                self.private_values(task.name),
                constants,
                [np.asarray(v) for v in self.heads[task.owner - 1].weights],
            )
            for task in tasks
        ]

    def verify_digests(self) -> None:
        """Compares every packed task with what it was when it was packed.

        Raises:
            PromiseError: Naming the tasks that differ.
        """
        packed = [task for task in self._tasks if task.packed]
        changed = [
            task.name
            for task, digest in zip(packed, self._digests(packed), strict=True)
            if digest != task.digest
        ]
        if changed:
            raise PromiseError(
                f"Packed task(s) {', '.join(changed)} have changed since they "
                "were packed (by set_weights, a callback or a training loop "
                "of your own?); load the last packed state."
            )
