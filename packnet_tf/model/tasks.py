"""Many tasks in one model: what there is, and what it answers."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.convert.mask_model import mask_model
from packnet_tf.convert.selection import Skip
from packnet_tf.errors import ConversionError, PhaseError, TaskError
from packnet_tf.layers import Masked, MaskedKernel
from packnet_tf.masks import ownership
from packnet_tf.model import heads, losses
from packnet_tf.model.private import PrivateBank
from packnet_tf.model.protection import Protection
from packnet_tf.model.training import ProtectedTraining
from packnet_tf.task import Task
from packnet_tf.tf_internals import layers_of


class MultiTask(ProtectedTraining):
    """A backbone under masks, heads, and one active task.

    It answers for any of its tasks, and knows what the phase in progress may
    change. `proof.py` proves that packed tasks are what they were,
    `phases.py` moves it from phase to phase; `model.py` is the public class,
    where the arguments are described.
    """

    def __init__(
        self,
        backbone: keras.Model,
        private: str = "per_task",
        depthwise: str = "private",
        skip: Skip | Sequence[Skip] = (),
        name: str | None = None,
        **kwargs: Any,
    ):
        # The layers below cast for themselves; pixels must reach them as they
        # are, by `call` as by `logits`.
        kwargs["autocast"] = False
        super().__init__(name=name or "packnet", **kwargs)
        for option, value, legal in (
            ("private", private, ("per_task", "frozen")),
            ("depthwise", depthwise, ("private", "masked")),
        ):
            if value not in legal:
                raise ValueError(
                    f"PackNet({option}={value!r}): expected one of {legal}."
                )
        self.private = private
        self.depthwise = depthwise
        with self.distribute_strategy.scope():
            self.backbone = mask_model(backbone, skip, depthwise)
        self.heads: list[keras.Layer] = []
        # They are those of now for ever; see `_refuse_grown`.
        self._kernels = _kernels_of(self.backbone)
        self._known = frozenset(id(v) for v in self.backbone.weights)
        self._bank = PrivateBank(self.backbone, self.masked_kernels())
        # Tuples, so that Keras does not track what is no layer.
        self._tasks: tuple[Task, ...] = ()
        self._active: Task | None = None
        self._saving_newest = False
        self.built = True

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks in the order added."""
        return tuple(self._tasks)

    @property
    def active_task(self) -> Task | None:
        """The task that the network answers for now."""
        return self._active

    @property
    def newest(self) -> Task | None:
        """The task added last."""
        return self._tasks[-1] if self._tasks else None

    @property
    def phase(self) -> str | None:
        """Phase of the active task: train, retrain or packed."""
        return self._active.phase if self._active else None

    @property
    def capacity(self) -> float:
        """Share of the prunable weights that is free, from 0 to 1."""
        counts = ownership.totals(
            k.mask for k in self.masked_kernels() if k.prunable
        )
        total = sum(counts.values())
        return counts[ownership.FREE] / total if total else 0.0

    @property
    def pretrained_kernels(self) -> list[np.ndarray] | None:
        """Kernels before the base task was pruned, or None if unknown.

        They are the origin of new tasks with `origin="pretrained"`, and are
        kept beside the files of the network, not inside them.
        """
        return self._bank.pretrained

    @pretrained_kernels.setter
    def pretrained_kernels(self, values: Sequence[np.ndarray] | None) -> None:
        kernels = [k.variable for k in self.masked_kernels()]
        self._bank.pretrained = _fitting(
            values, kernels, "pretrained_kernels", "kernels"
        )

    @property
    def pretrained_private(self) -> list[np.ndarray] | None:
        """Private variables before the base task was pruned, or None.

        What `pretrained_kernels` are for the kernels; kept with them.
        """
        return self._bank.pretrained_private

    @pretrained_private.setter
    def pretrained_private(self, values: Sequence[np.ndarray] | None) -> None:
        self._bank.pretrained_private = _fitting(
            values,
            self._bank.variables,
            "pretrained_private",
            "private variables",
        )

    @property
    def private_variables(self) -> list[keras.Variable]:
        """The private variables; they hold the active task's values."""
        return list(self._bank.variables)

    @property
    def constants(self) -> list[keras.Variable]:
        """Preprocessing statistics, shared by all tasks."""
        return list(self._bank.constants)

    def masked_kernels(self) -> list[MaskedKernel]:
        """Returns every masked kernel of the backbone, in a fixed order."""
        return list(self._kernels)

    def task(self, name: str) -> Task:
        """Returns the task of that name.

        Raises:
            TaskError: If there is none; the message lists the tasks.
        """
        for task in self._tasks:
            if task.name == name:
                return task
        known = ", ".join(t.name for t in self._tasks) or "none yet"
        raise TaskError(f"Unknown task {name!r}; the tasks are: {known}.")

    def head_of(self, name: str) -> keras.Layer | None:
        """Returns the head of a task, or None if it has none."""
        task = self.task(name)
        return self.heads[task.owner - 1] if task.classes else None

    def private_values(self, name: str) -> list[np.ndarray]:
        """Returns a task's private variables, whichever task is active."""
        task = self.task(name)
        if task is self._active:
            return self._bank.live()
        return self._bank.of(task.owner)

    def features(self, inputs, training=None):
        """Returns the backbone's features, as its outputs are."""
        return heads.only(self.backbone(inputs, training=training))

    def head_outputs(self, task: Task, features, training=None):
        """Returns what a task's head makes of the backbone's features.

        A head of one `Dense` layer gets them flattened to rank 2, a head of
        the user's own as they are.
        """
        if task.head is None:
            features = heads.flat(features)
        head = self.heads[task.owner - 1]
        return heads.only(head(features, training=training))

    def logits(self, inputs, training=None):
        """Returns the active task's logits: the head before its activation.

        Args:
            inputs: A batch as the backbone takes it; of images, pixels 0 to
                255.
            training: As in Keras.
        """
        if self._active is None:
            raise TaskError("The network has no task yet; call add_task().")
        features = self.features(inputs, training=training)
        return self.head_outputs(self._active, features, training=training)

    def call(self, inputs, training=None):
        """Returns the active task's scores."""
        logits = self.logits(inputs, training=training)
        if self._active.classes == 0:
            return logits
        scores = keras.activations.get(self._active.activation)(logits)
        # Padded steps of a sequence stay out of the loss, as in Keras.
        mask = getattr(logits, "_keras_mask", None)
        if mask is not None and scores is not logits:
            scores._keras_mask = mask
        return scores

    def build(self, input_shape=None):
        """Does nothing: the backbone comes built."""

    def feature_count(self) -> int:
        """Returns the number of features below the heads, once flattened.

        Raises:
            TaskError: If it is not fixed, or cannot be found out.
        """
        return heads.flat_size(heads.features_of(self.backbone))

    def _make_head(self, task, given=None, seed=0) -> keras.Layer:
        with self.distribute_strategy.scope():
            return heads.make_head(
                task, heads.features_of(self.backbone), given, seed
            )

    def _in_training(self, step: str) -> Task:
        task = self.newest
        if task is None:
            raise PhaseError(f"{step}() needs a task; call add_task() first.")
        if task.packed:
            raise PhaseError(
                f"{step}(): task {task.name!r} is packed and final; call "
                "add_task() to go on with a new task."
            )
        if self._active is not None and task is not self._active:
            raise PhaseError(
                f"{step}() acts on the task in training, {task.name!r}, but "
                f"{self._active.name!r} is active; call "
                f"activate({task.name!r}) first."
            )
        return task

    def _refuse_grown(self) -> None:
        """Refuses weights that no mask and no copy covers."""
        if {id(v) for v in self.backbone.weights} != self._known:
            raise ConversionError(
                f"The backbone {self.backbone.name!r} has other weights than "
                "when this network was made of it; a network takes no new "
                "layers. Change the plain model and make a new PackNet of it."
            )

    def _bank_active(self) -> None:
        """Keeps the live private variables of a task still in training."""
        if self._active is not None and not self._active.packed:
            self.equalize_replicas()
            self._bank.keep(self._active.owner)

    def _enter(self, task: Task) -> None:
        """Makes everything follow the task and its phase."""
        if task is not self._active:
            self._active = task
            self._bank.restore(task.owner)
        for layer in layers_of(self.backbone):
            if isinstance(layer, Masked):
                # A packed task always runs through its view, so that its
                # program is the same for ever; training needs no mask.
                layer.view_task = task.owner if task.packed else None
        self._bank.freeze(self.private == "frozen" and task.owner > 1)
        self._select_functions()

    def resume_task(self, record: dict[str, Any]) -> None:
        """Takes up the record of the task in training, as checkpoints do.

        Args:
            record: `Task.to_dict()` of the newest task.

        Raises:
            TaskError: If it is of another task.
        """
        task = self._in_training("resume_task")
        saved = Task.from_dict(record)
        if (saved.name, saved.classes) != (task.name, task.classes):
            raise TaskError(
                f"The checkpoint is of task {saved.name!r} with "
                f"{saved.classes} classes; expected {task.name!r} with "
                f"{task.classes}."
            )
        task.__dict__.update(saved.__dict__)
        self._enter(task)
        self._masks_changed()

    def _function_key(self) -> Any:
        if self._active is None:
            return None
        return self._active.owner, self._active.packed

    def _mark_trained(self) -> None:
        task = self._in_training("fit")
        task.trained = True
        task.loss = losses.loss_name(self.loss)

    def _make_protection(self) -> Protection:
        task = self._in_training("fit")
        self._refuse_grown()
        kernels = self.masked_kernels()
        # A user's own step asks while it is traced.
        with tf.init_scope():
            own = [np.asarray(k.mask) == task.owner for k in kernels]
            shared = [bool(o.any() and not o.all()) for o in own]
            # Steps were made before these masks: slots of weights that are
            # gone still hold momentum.
            stale = self.optimizer is not None and bool(
                self.optimizer.iterations > 0
            )
        return Protection(kernels, task.owner, shared, stale_slots=stale)

    def _check_objective(self, loss, metrics, trains) -> None:
        task = self._active
        if task is None:
            return
        activation: str | None = task.activation
        if activation == "linear" and task.head is not None:
            activation = heads.last_activation(self.heads[task.owner - 1])
        losses.check_loss(task, activation, loss)
        losses.check_metrics(task, activation, loss, metrics)
        if not trains:
            losses.check_evaluated_loss(task, activation, loss)

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """What the current phase may change; nothing, once packed."""
        task = self._active
        if task is None or task.packed:
            return []
        closed = {
            id(v)
            for head in self.heads
            for v in head.weights
            if head is not self.heads[task.owner - 1]
        }
        if self.private == "frozen" and task.owner > 1:
            closed.update(id(v) for v in self._bank.variables)
        # What a task claimed it keeps in part, however often it is pruned.
        for claimed, kernel in zip(
            task.claimed, self.masked_kernels(), strict=True
        ):
            if claimed == 0:
                closed.add(id(kernel.variable))
        return [v for v in super().trainable_variables if id(v) not in closed]

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        """The same as `trainable_variables`."""
        return self.trainable_variables


def _kernels_of(backbone: keras.Model) -> tuple[MaskedKernel, ...]:
    """Returns every masked kernel once, in the order of the layers."""
    found: dict[int, MaskedKernel] = {}
    for layer in layers_of(backbone):
        if isinstance(layer, Masked):
            for kernel in layer.masked_kernels():
                found.setdefault(id(kernel.variable), kernel)
    return tuple(found.values())


def _fitting(
    values: Sequence[np.ndarray] | None,
    variables: Sequence[keras.Variable],
    name: str,
    what: str,
) -> list[np.ndarray] | None:
    """Returns values as arrays, if they have the shapes of the variables."""
    if values is None:
        return None
    arrays = [np.asarray(value) for value in values]
    if [a.shape for a in arrays] != [tuple(v.shape) for v in variables]:
        raise TaskError(
            f"{name}: the shapes are not those of this network's {what}; "
            "give those of the same network."
        )
    return arrays
