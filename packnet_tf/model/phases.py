"""The phases of a task: add, train, prune, retrain, pack."""

from collections.abc import Sequence

import keras
import numpy as np

from packnet_tf.errors import (
    CapacityError,
    PhaseError,
    PromiseError,
    TaskError,
)
from packnet_tf.masks import ownership, pruning
from packnet_tf.model import heads
from packnet_tf.model.losses import check_activation
from packnet_tf.model.promise import Proven
from packnet_tf.task import PACKED, RETRAIN, Task, check_task_name


class Phases(Proven):
    """Moves the network from one phase to the next, and refuses the rest."""

    def add_task(
        self,
        name: str,
        classes: int | None = None,
        *,
        class_names: Sequence[str] | None = None,
        activation: str = "softmax",
        head: keras.Layer | None = None,
        origin: str = "auto",
        seed: int = 0,
    ) -> Task:
        """Adds a task: a new head, and all free weights for its own.

        Args:
            name: Its name; it becomes a file and signature name.
            classes: Number of classes, or of the numbers that a regression
                gives; 0 for a base task without a head, whose outputs are
                the features. May be left out with `head`.
            class_names: Names in the order of the logits.
            activation: Keras name of the activation behind the logits:
                `"softmax"` for one class out of several, `"sigmoid"` for
                several at once (or one, yes or no), `"linear"` for
                regression or a loss with `from_logits=True`.
            head: A head of your own instead of one linear `Dense` layer: a
                Keras layer or small model that takes the backbone's features
                as they are (not flattened) and gives outputs of which the
                last number is `classes`. The task gets a copy. If the head
                is built, its weights are copied, and the task counts as
                trained.
            origin: Where the claimed weights start, from the second task
                on: `"zero"` (the authors' code), `"pretrained"` (the value
                that this very weight had before the base task was pruned),
                `"random"` (small values), or `"auto"`: pretrained where
                `pretrained_kernels` are known, else zero. The first task
                starts from the network as it is. Private variables that are
                a task's own start from those of the base task, with a
                pretrained origin from their values before it was pruned.
            seed: For `origin="random"` and the new head.

        Returns:
            The task's record.

        Raises:
            PhaseError: If another task is not packed yet.
            TaskError: If the name is taken or cannot be used, or if the head,
                the classes and the backbone's features do not fit.
            CapacityError: If no weights are free, or 255 tasks exist.
        """
        check_task_name(name)
        if any(task.name == name for task in self._tasks):
            raise TaskError(
                f"Task {name!r} exists already; choose another name, or "
                "activate() it."
            )
        newest = self.newest
        if newest is not None and not newest.packed:
            raise PhaseError(
                f"Task {newest.name!r} is in its {newest.phase} phase; "
                f"pack() it before adding {name!r}."
            )
        if len(self._tasks) >= ownership.MAX_TASKS:
            raise CapacityError(
                f"The network holds {ownership.MAX_TASKS} tasks, the most "
                f"that masks can number; {name!r} needs another network."
            )
        kernels = self.masked_kernels()
        if self._tasks:
            ownership.check_free(name, self.capacity)
        if origin not in ("auto", "zero", "pretrained", "random"):
            raise ValueError(
                f"origin={origin!r}: expected auto, zero, pretrained or random."
            )
        if origin == "pretrained" and self.pretrained_kernels is None:
            raise TaskError(
                "origin='pretrained' needs the kernels from before the base "
                "task was pruned; set pretrained_kernels, or use 'zero'."
            )
        owner = len(self._tasks) + 1
        task = Task(
            name=name,
            owner=owner,
            classes=heads.OPEN if classes is None else int(classes),
            class_names=None if class_names is None else tuple(class_names),
            activation=check_activation(activation, name),
            trained=(owner == 1 and classes == 0) or heads.has_weights(head),
        )
        new_head = self._make_head(task, head, seed)
        if task.class_names and len(task.class_names) != task.classes:
            raise TaskError(
                f"Task {name!r} has {task.classes} classes but "
                f"{len(task.class_names)} class names."
            )
        if self._active is not None:
            self._bank_active()
        claimed = []
        random = np.random.default_rng(seed)
        for index, kernel in enumerate(kernels):
            mask = np.asarray(kernel.mask)
            free = mask == ownership.FREE
            claimed.append(int(free.sum()))
            kernel.mask.assign(ownership.claim(mask, owner))
            value = np.asarray(kernel.variable)
            if owner == 1:
                start = value + np.zeros((), value.dtype)  # -0.0 becomes 0.0
            elif origin == "random":
                scale = 0.1 * float(value.std())
                start = random.normal(0, scale, value.shape)
            elif origin == "zero" or self.pretrained_kernels is None:
                start = np.zeros_like(value)
            else:
                start = self.pretrained_kernels[index] + np.zeros(
                    (), value.dtype
                )
            kernel.variable.assign(
                np.where(free, start, value).astype(value.dtype)
            )
        task.claimed = tuple(claimed)
        self.heads.append(new_head)
        self._tasks = (*self._tasks, task)
        self._bank.begin(
            owner,
            pretrained=origin in ("auto", "pretrained")
            and self.private == "per_task",
        )
        self._enter(task)
        self._renew_optimizer()
        return task

    def prune(
        self,
        fraction: float,
        scope: str = "layer",
        granularity: str = "weight",
    ) -> Task:
        """Frees the task's smallest weights, and starts its retrain phase.

        Args:
            fraction: Share of the weights that the task owns now, between 0
                and 1; per kernel, exactly `round(fraction * owned)` go, and
                at least one stays (the paper, section 3).
            scope: `"layer"` ranks within each kernel, `"global"` over all.
            granularity: `"weight"` ranks single weights by magnitude,
                `"filter"` whole output channels by the mean magnitude of the
                task's weights in them. The fraction is then one of the
                channels in which the task owns a weight, and at least one of
                every kernel stays; weights of older tasks in a freed channel
                stay theirs.

        Returns:
            The task's record.

        Raises:
            PhaseError: If no task is in training, or it never trained.
            PackNetError: If an argument is not what is expected, or a weight
                is NaN; nothing is pruned then.

        Example:

        >>> net.prune(0.5, scope="global", granularity="filter")
        """
        task = self._in_training("prune")
        if not task.trained:
            raise PhaseError(
                f"Task {task.name!r} has not been trained; call fit() before "
                "prune(), or its weights are ranked by chance."
            )
        self._prune(task, fraction, scope, granularity)
        task.phase = RETRAIN
        self._enter(task)
        self._renew_optimizer()
        return task

    def prune_to(
        self,
        fraction: float,
        scope: str = "layer",
        granularity: str = "weight",
    ) -> Task:
        """Prunes up to a share of what the task claimed; for gradual pruning.

        Unlike `prune` it may be called between the epochs of a running
        `fit`, and keeps the optimizer's slots.

        Args:
            fraction: Share of the claimed weights (or channels) that shall be
                free after the call, between 0 and 1.
            scope: As in `prune`.
            granularity: As in `prune`.
        """
        task = self._in_training("prune_to")
        self._prune(task, fraction, scope, granularity, of_claimed=True)
        if task.phase != RETRAIN:
            task.phase = RETRAIN
            self._enter(task)
        self._masks_changed()
        return task

    def pack(self) -> Task:
        """Makes the task in training final.

        Its mask, private variables and head never change again; their
        digest is recorded. Legal after the train phase too: then the task
        keeps all it claimed, and no capacity is left (as the paper does with
        its last task).

        Returns:
            The task's record.

        Raises:
            PhaseError: If no task is in training, or it never trained.
            PromiseError: If an older task has changed, or a free weight is
                not exactly 0.
        """
        task = self._in_training("pack")
        if not task.trained:
            raise PhaseError(
                f"Task {task.name!r} has not been trained; call fit() before "
                "pack()."
            )
        self.equalize_replicas()
        self.verify_digests()
        for kernel in self.masked_kernels():
            value, mask = np.asarray(kernel.variable), np.asarray(kernel.mask)
            if np.any(value[mask == ownership.FREE]):
                raise PromiseError(
                    f"Free weights of {kernel.path} are not 0; something "
                    "outside the training step wrote to them. Load the last "
                    "packed state and train without it."
                )
            if np.any(np.signbit(value) & (value == 0)):
                # -0.0 + 0.0 is 0.0: an optimizer that adds a zero update to
                # a protected -0.0 would change its bytes.
                kernel.variable.assign(value + np.zeros((), value.dtype))
        task.phase = PACKED
        self._bank.keep(task.owner)
        task.digest = self.digest_of(task.name)
        self._enter(task)
        # The slots of the last phase are of no more use.
        self._renew_optimizer()
        return task

    def activate(self, name: str) -> Task:
        """Makes the network answer for a task, at any time.

        Args:
            name: A packed task, or the one in training.

        Raises:
            TaskError: If there is no task of that name.
        """
        task = self.task(name)
        if task is not self._active:
            self._bank_active()
            self._enter(task)
        return task

    def _prune(
        self, task, fraction, scope, granularity, of_claimed=False
    ) -> None:
        everything = self.masked_kernels()
        kernels = [k for k in everything if k.prunable]
        # All masks are known before anything changes. Variables are read one
        # at a time: a copy of every kernel would take as much memory as the
        # network.
        masks = pruning.prune_masks(
            [k.variable for k in kernels],
            [k.mask for k in kernels],
            task.owner,
            fraction,
            scope=scope,
            granularity=granularity,
            of_claimed=of_claimed,
            channel_axes=[k.channel_axes for k in kernels],
            names=[k.path for k in kernels],
        )
        if self.pretrained_kernels is None and task.owner == 1:
            self.pretrained_kernels = [
                np.asarray(k.variable) for k in everything
            ]
            self.pretrained_private = [
                value.copy() for value in self._bank.live()
            ]
        for kernel, mask in zip(kernels, masks, strict=True):
            kernel.mask.assign(mask)
            # The newest task sees all that is not free.
            value = np.asarray(kernel.variable)
            kernel.variable.assign(ownership.view(value, mask, task.owner))
