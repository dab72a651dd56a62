"""PackNet: one backbone, many tasks, nothing forgotten."""

import contextlib
import functools
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from packnet_tf.convert.mask_model import mask_model
from packnet_tf.convert.selection import Skip, keep_plain, kept_paths
from packnet_tf.convert.sharing import read_shared, refuse_shared
from packnet_tf.errors import NetworkError, PhaseError, TaskError
from packnet_tf.model import (
    claim,
    edits,
    files,
    heads,
    inference,
    labels,
    linear_probe,
    optimizers,
    phases,
    restored,
    task_model,
    tolerance,
)
from packnet_tf.model.answers import Answers
from packnet_tf.model.copies import Copies
from packnet_tf.model.tasks import TaskBook, take_over
from packnet_tf.model.training import Trainer
from packnet_tf.options.network import DEPTHWISE, PRECISIONS
from packnet_tf.task import Task
from packnet_tf.tf_internals.layers import layers_of


@keras.saving.register_keras_serializable("packnet_tf")
class PackNet(Copies, Answers, Trainer):
    """Adds tasks to one network; packed tasks never change again.

    Each task is trained on the free weights (`add_task`, `fit`), gives most
    of them back (`prune`), is trained again with those it kept (`fit`), and
    is made final (`pack`). See Mallya and Lazebnik, "PackNet: Adding
    Multiple Tasks to a Single Network by Iterative Pruning", CVPR 2018.

    Args:
        backbone: The network below the heads, preprocessing included; a
            functional or Sequential Keras model with any inputs, or any
            model built from masked layers. Features of rank above 2 are
            flattened for heads that are one `Dense` layer.
        private: What normalization, biases and unmasked depthwise kernels
            do after the first task: `"per_task"` gives each task its own
            copy, `"frozen"` keeps those of the first task (the paper).
        depthwise: `"private"` treats depthwise kernels as private
            variables, which suits their size; `"masked"` shares them under
            a mask, without pruning them.
        skip: Layers whose kernels shall not be masked, but be private to
            each task: names, classes, or functions of a layer.
        packed_precision: What `pack` rounds the task's weights to, for ever:
            `"bfloat16"` or `"float16"` halve the files, `"float32"` rounds
            nothing. Arithmetic is not affected.
        name: Name of the model.

    Raises:
        NetworkError: If an option is not one of those.
        ConversionError: If the backbone cannot be masked.

    Example:

    >>> net = PackNet(backbone)
    >>> net.add_task("cars", classes=196)
    >>> net.compile("adam", "sparse_categorical_crossentropy",
    ...             metrics=["accuracy"])
    >>> net.fit(train, epochs=20)
    >>> net.prune(0.75)
    >>> net.fit(train, epochs=10)
    >>> net.pack()
    """

    def __init__(
        self,
        backbone: keras.Model,
        private: str = "per_task",
        depthwise: str = "private",
        skip: Skip | Sequence[Skip] = (),
        packed_precision: str = PRECISIONS[0],
        name: str | None = None,
        **kwargs: Any,
    ):
        # The layers below cast for themselves; pixels must reach them as they
        # are, by `call` as by `logits`.
        kwargs["autocast"] = False
        super().__init__(name=name or "packnet", **kwargs)
        for option, value, legal in (
            ("private", private, ("per_task", "frozen")),
            ("depthwise", depthwise, DEPTHWISE),
            ("packed_precision", packed_precision, PRECISIONS),
        ):
            if value not in legal:
                raise NetworkError(
                    f"PackNet({option}={value!r}): expected one of {legal}."
                )
        self.private = private
        self.depthwise = depthwise
        self.packed_precision = packed_precision
        with self.distribute_strategy.scope():
            self.backbone = mask_model(backbone, skip, depthwise)
        self.heads: list[keras.Layer] = []
        self.book = TaskBook(
            self.backbone, self.heads, private, self.distribute_strategy
        )
        self.book.switch.network = weakref.ref(self)
        self.train_by(self.book)
        self._saving = False
        self.built = True
        # Keras wraps this method in one that lets no head be added afterwards.
        self.__dict__.pop("quantize", None)

    # The steps in the life of a task, each a function of a network.
    add_task = claim.add_task
    fit_head = linear_probe.fit_head
    prune = phases.prune
    prune_to = phases.prune_to
    prune_within = tolerance.prune_within
    pack = phases.pack
    remove_task = edits.remove_task
    rename_task = edits.rename_task
    as_model = task_model.as_model
    # In place of Keras's.
    compute_loss = labels.compute_loss
    load_weights = restored.load_weights
    set_weights = restored.set_weights
    __call__ = inference.call

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """What the current phase may change; nothing, once packed."""
        return self.book.may_train(super().trainable_variables)

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        """The same as `trainable_variables`."""
        return self.trainable_variables

    def head_of(self, name: str) -> keras.Layer | None:
        """Returns the head of a task, or None if it has none."""
        task = self.task(name)
        return self.heads[task.owner - 1] if task.classes else None

    def activate(self, name: str) -> Task:
        """Makes the network answer for a task, at any time, in all threads.

        Eager calls follow it, and so do Keras models made over the network or
        its layers. A `tf.function` goes on answering for the task that it was
        traced for.

        Args:
            name: A packed task, or the one in training.

        Raises:
            TaskError: If there is no task of that name.
            PhaseError: If another thread is inside `fit`, `evaluate` or
                `predict`; use `as_model` in threads.
        """
        task = self.task(name)
        if task is self.active_task:
            self.book.turns.entered(task)
            return task
        with self.book.turns.alone(f"activate({name!r})"):
            self.keep_active()
            self.enter(task)
        return task

    def enter(self, task: Task, new_phase: bool = False) -> None:
        """Makes everything follow a task and its phase."""
        self.book.enter(task)
        self.select_objective()
        if new_phase:
            self.start_phase()

    def keep_active(self) -> None:
        """Leaves a task that is still in training in order."""
        task = self.active_task
        if task is not None and not task.packed:
            self.equalize_replicas()

    def resume_task(self, record: dict[str, Any]) -> None:
        """Takes up the record of the task in training, as checkpoints do.

        Args:
            record: `Task.to_dict()` of the newest task.

        Raises:
            TaskError: If it is of another task.
        """
        task = self.book.in_training("resume_task")
        saved = Task.from_dict(record)
        if (saved.name, saved.classes) != (task.name, task.classes):
            raise TaskError(
                f"The checkpoint is of task {saved.name!r} with "
                f"{saved.classes} classes; expected {task.name!r} with "
                f"{task.classes}."
            )
        take_over(task, saved)
        self.enter(task)
        self.book.note_masks()
        self.masks_changed()

    def feature_count(self) -> int:
        """Returns the number of features below the heads, once flattened.

        Raises:
            TaskError: If it is not fixed, or cannot be found out.
        """
        return heads.flat_size(heads.features_of(self.backbone))

    def make_head(self, task, given=None, seed=0) -> keras.Layer:
        """Returns a new head for a task; see `heads.make_head`."""
        with self.distribute_strategy.scope():
            return heads.make_head(
                task, heads.features_of(self.backbone), given, seed
            )

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration; it does not tell what is active.

        Raises:
            StateError: If Keras asks for it to write an HDF5 file.
        """
        files.refuse_legacy()
        refuse_shared(self.backbone)
        backbone = keras.saving.serialize_keras_object(self.backbone)
        config = {
            "name": self.name,
            "backbone": backbone,
            "private": self.private,
            "depthwise": self.depthwise,
            "tasks": [task.to_dict() for task in self.tasks],
        }
        if self.packed_precision != PRECISIONS[0]:
            config["packed_precision"] = self.packed_precision
        layers = [self, *layers_of(self.backbone)]
        if any(map(optimizers.scales_loss, layers)):
            config["dtype"] = self.dtype_policy.name
        kept = kept_paths(self.backbone)
        return {**config, "kept_plain": kept} if kept else config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Makes the network of a configuration; its newest task is active.

        The tasks cannot be asked or trained before their weights are loaded.
        """
        files.refuse_bomb()
        config = dict(config)
        records = config.pop("tasks", [])
        config["backbone"] = read_shared(config["backbone"], custom_objects)
        keep_plain(config["backbone"], config.pop("kept_plain", ()))
        if any(map(optimizers.scales_loss, layers_of(config["backbone"]))):
            # Earlier versions did not write it.
            config.setdefault("dtype", "mixed_float16")
        net = cls(**config)
        for record in records:
            task = Task.from_dict(record)
            with keras.saving.custom_object_scope(custom_objects or {}):
                net.book.add(task, net.make_head(task))
        if net.newest is not None:
            net.enter(net.newest)
            net.book.weights_missing = True
        return net

    def get_build_config(self):
        """Nothing to record: the backbone comes built."""
        return None

    def build_from_config(self, config):
        """Nothing to do: the backbone comes built."""

    @contextlib.contextmanager
    def as_newest(self, weights: bool = True) -> Iterator[None]:
        """As in `Copies`; `weights` says whether to compare their digests."""
        self.equalize_replicas()
        (self.verify_digests if weights else self.verify_architecture)()
        self._saving = True
        try:
            with self.book.as_newest():
                yield
        finally:
            self._saving = False

    def save(self, filepath, overwrite=True, zipped=None, **kwargs):
        """Saves the whole network; see `keras.Model.save`.

        The content does not depend on which task is active, and packed tasks
        are compared with their digests first. An error leaves the old file.

        Args:
            filepath: The path, which has to end in `.keras`.
            overwrite: As in `keras.Model.save`.
            zipped: The same.
            **kwargs: The same.

        Raises:
            PromiseError: If a packed task has changed.
            StateError: If it does not end in `.keras`, or the disk is full.
        """
        # Before Keras opens the file.
        files.check_path(filepath, **kwargs)
        refuse_shared(self.backbone)
        with self.as_newest():
            save = functools.partial(super().save, zipped=zipped, **kwargs)
            files.save_whole(save, filepath, ".keras", overwrite)

    def save_weights(self, filepath, overwrite=True, max_shard_size=None):
        """Saves all weights, masks and private variables of all tasks.

        An error leaves the old file, but not files of `max_shard_size`.

        Args:
            filepath: As in `keras.Model.save_weights`.
            overwrite: The same.
            max_shard_size: The same.

        Raises:
            PromiseError: If a packed task has changed.
            StateError: If the disk is full.
        """
        with self.as_newest():
            save = super().save_weights
            if max_shard_size is None:
                files.save_whole(save, filepath, ".weights.h5", overwrite)
            else:
                save(filepath, overwrite, max_shard_size)

    def save_own_variables(self, store):
        """Stores every task's private variables and the tasks' records."""
        if not self._saving and self.active_task is not self.newest:
            raise PhaseError(
                f"Task {self.active_task.name!r} is active; save with "
                "net.save() or net.save_weights(), whose files do not depend "
                "on that."
            )
        files.write_tasks(self.book, store, self.packed_precision)

    def load_own_variables(self, store):
        """Reads what `save_own_variables` stored."""
        files.read_tasks(self.book, store)
        if self.active_task is not None:
            self.enter(self.active_task)
