"""Changes of mind that no older task can notice: remove, rename."""

import numpy as np

from packnet_tf.errors import PhaseError, TaskError
from packnet_tf.masks import ownership
from packnet_tf.model.phases import Phases
from packnet_tf.task import Task, check_task_name


class Amendable(Phases):
    """A network whose newest task can go, and whose tasks can be renamed."""

    def remove_task(self, name: str) -> None:
        """Removes the newest task, packed or not; its weights are free again.

        The network is then what it was before the task was added, byte for
        byte, and the task before it is active. Older tasks cannot be removed
        while later ones use their weights.

        Args:
            name: The newest task's name.

        Raises:
            TaskError: If there is no such task, or later ones were added.
            PhaseError: If it is the first task: its training began with the
                network itself, which cannot be had back.
            PromiseError: If a packed task has changed.

        Example:

        >>> net.remove_task("flowers")
        >>> net.add_task("flowers", classes=102)  # another try
        """
        task = self.task(name)
        later = [other.name for other in self._tasks[task.owner :]]
        if later:
            raise TaskError(
                f"Task {name!r} is not the newest, and later tasks use its "
                f"weights; remove {', '.join(reversed(later))} first."
            )
        if task.owner == 1:
            raise PhaseError(
                f"Task {name!r} is the first, and the network was trained "
                "with it; make a new PackNet instead."
            )
        self.verify_digests()
        self.activate(self._tasks[-2].name)
        for kernel in self.masked_kernels():
            value, mask = np.asarray(kernel.variable), np.asarray(kernel.mask)
            # The task before sees all that is left.
            kernel.variable.assign(ownership.view(value, mask, task.owner - 1))
            kernel.mask.assign(ownership.release(mask, task.owner))
        self.heads.pop()
        self._tasks = self._tasks[:-1]
        self._bank.forget(task.owner)
        # The next task gets the same number, and must not get its programs.
        self._drop_functions("train", "test", "predict")
        self._renew_optimizer()
        self.verify_digests()

    def rename_task(self, old: str, new: str) -> Task:
        """Gives a task another name, at any time; nothing else changes.

        Args:
            old: The task's name.
            new: What it shall be called.

        Returns:
            The task's record.

        Raises:
            TaskError: If there is no task `old`, or if `new` is taken or
                cannot be used.
        """
        task = self.task(old)
        check_task_name(new)
        if new != old and any(other.name == new for other in self._tasks):
            raise TaskError(
                f"Task {new!r} exists already; choose another name for {old!r}."
            )
        task.name = new
        return task
