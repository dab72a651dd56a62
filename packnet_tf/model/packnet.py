"""PackNet: one backbone, many tasks, nothing forgotten."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from packnet_tf.convert.selection import keep_plain, kept_paths
from packnet_tf.convert.sharing import read_shared, refuse_shared
from packnet_tf.errors import PackNetError, PhaseError, PromiseError, TaskError
from packnet_tf.masks import ownership
from packnet_tf.model.edits import Amendable
from packnet_tf.task import Task


class _Kept:
    """All that a network holds, to put it back if a file is refused."""

    def __init__(self, net: "PackNet"):
        self._net = net
        self._values = [(v, np.array(v)) for v in net.variables]
        self._private: dict[str, np.ndarray] = {}
        net._bank.save(self._private, len(net.tasks))
        self._records = [dict(vars(task)) for task in net.tasks]

    def put_back(self) -> None:
        for variable, value in self._values:
            variable.assign(value)
        self._net._bank.load(self._private, len(self._records))
        for task, record in zip(self._net.tasks, self._records, strict=True):
            task.__dict__.update(record)


@keras.saving.register_keras_serializable("packnet_tf")
class PackNet(Amendable):
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
        name: Name of the model.

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

    def get_config(self) -> dict[str, Any]:
        """Returns the configuration; it does not tell what is active."""
        refuse_shared(self.backbone)
        backbone = keras.saving.serialize_keras_object(self.backbone)
        config = {
            "name": self.name,
            "backbone": backbone,
            "private": self.private,
            "depthwise": self.depthwise,
            "tasks": [task.to_dict() for task in self._tasks],
        }
        kept = kept_paths(self.backbone)
        return {**config, "kept_plain": kept} if kept else config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Makes the network of a configuration; its newest task is active."""
        config = dict(config)
        records = config.pop("tasks", [])
        config["backbone"] = read_shared(config["backbone"], custom_objects)
        keep_plain(config["backbone"], config.pop("kept_plain", ()))
        net = cls(**config)
        for record in records:
            task = Task.from_dict(record)
            with keras.saving.custom_object_scope(custom_objects or {}):
                net.heads.append(net._make_head(task))
            net._tasks = (*net._tasks, task)
            net._bank.begin(task.owner)
        if net._tasks:
            net._enter(net._tasks[-1])
        return net

    def get_build_config(self):
        """Nothing to record: the backbone comes built."""
        return None

    def build_from_config(self, config):
        """Nothing to do: the backbone comes built."""

    @contextlib.contextmanager
    def _as_newest(self) -> Iterator[None]:
        """Makes files independent of the active task."""
        active, newest = self._active, self.newest
        self.equalize_replicas()
        self.verify_digests()
        if newest is not None and active is not newest:
            self.activate(newest.name)
        self._saving_newest = True
        try:
            yield
        finally:
            self._saving_newest = False
            if active is not None and active is not newest:
                self.activate(active.name)

    def save(self, filepath, *args, **kwargs):
        """Saves the whole network; see `keras.Model.save`.

        The content does not depend on which task is active, and packed tasks
        are compared with their digests first.
        """
        refuse_shared(self.backbone)  # Before Keras opens the file.
        with self._as_newest():
            super().save(filepath, *args, **kwargs)

    def save_weights(self, filepath, *args, **kwargs):
        """Saves all weights, masks and private variables of all tasks."""
        with self._as_newest():
            super().save_weights(filepath, *args, **kwargs)

    def load_weights(self, filepath, *args, **kwargs):
        """Loads what `save_weights` wrote, into the same tasks: all or nothing.

        Raises:
            TaskError: If the file is of other tasks.
            PromiseError: If a packed task is not what its digest says, or
                the file holds another one of the same name.
        """
        if self._active is not self.newest:
            self.activate(self.newest.name)
        before = _Kept(self)
        try:
            super().load_weights(filepath, *args, **kwargs)
            self._masks_changed()
            self.verify_digests()
        except Exception as error:
            before.put_back()
            self._masks_changed()
            # Keras has made one text of the errors of all parts.
            raise self.__dict__.pop("_refusal", error) from None

    def save_own_variables(self, store):
        """Stores every task's private variables and the tasks' records."""
        if not self._saving_newest and self._active is not self.newest:
            raise PhaseError(
                f"Task {self._active.name!r} is active; save with net.save() "
                "or net.save_weights(), whose files do not depend on that."
            )
        if self._active is not None and not self._active.packed:
            self._bank.keep(self._active.owner)
        self._bank.save(store, len(self._tasks))
        records = json.dumps([task.to_dict() for task in self._tasks])
        store["tasks"] = np.frombuffer(records.encode(), np.uint8)

    def load_own_variables(self, store):
        """Reads what `save_own_variables` stored."""
        records = [
            Task.from_dict(record)
            for record in json.loads(np.asarray(store["tasks"]).tobytes())
        ]
        try:
            self._check_loaded(records)
        except PackNetError as error:
            # Keras loads the other parts all the same.
            self.__dict__["_refusal"] = error
            raise
        for task, record in zip(self._tasks, records, strict=True):
            task.__dict__.update(record.__dict__)
        self._bank.load(store, len(self._tasks))
        if self._active is not None:
            self._bank.restore(self._active.owner)
            self._enter(self._active)

    def _check_loaded(self, records: list[Task]) -> None:
        """Refuses the records of other tasks than the network has."""
        if [(t.name, t.classes) for t in records] != [
            (t.name, t.classes) for t in self._tasks
        ]:
            raise TaskError(
                "The file holds the tasks "
                f"[{', '.join(t.name for t in records)}], the network "
                f"[{', '.join(t.name for t in self._tasks)}]; load the file "
                "with keras.saving.load_model instead."
            )
        other = [
            task.name
            for task, record in zip(self._tasks, records, strict=True)
            if task.packed and record.digest != task.digest
        ]
        if other:
            raise PromiseError(
                f"The file holds other packed task(s) {', '.join(other)} than "
                "this network, which can never change; load the file with "
                "keras.saving.load_model, as a network of its own."
            )

    def ownership(self) -> list[tuple[str, tuple[int, ...], dict[int, int]]]:
        """Returns for each kernel its path, shape and weights by owner."""
        return [
            (
                kernel.path,
                tuple(kernel.variable.shape),
                ownership.count(np.asarray(kernel.mask)),
            )
            for kernel in self.masked_kernels()
        ]

    def owner_totals(self) -> dict[int, int]:
        """Returns how many weights each owner has in all; 0 has the free."""
        return ownership.totals(k.mask for k in self.masked_kernels())

    def summary_of_tasks(self) -> str:
        """Returns a table of who owns what, and what is left."""
        totals = self.owner_totals()
        everything = sum(totals.values()) or 1
        lines = [
            f"{'task':<20} {'phase':<8} {'classes':>7} {'weights':>12} "
            f"{'share':>6}"
        ]
        for task in self._tasks:
            own = totals.get(task.owner, 0)
            lines.append(
                f"{task.name:<20} {task.phase:<8} {task.classes:>7} "
                f"{own:>12,} {own / everything:>6.1%}"
            )
        free = totals[ownership.FREE]
        lines.append(
            f"{'(free)':<20} {'':<8} {'':>7} {free:>12,} "
            f"{free / everything:>6.1%}"
        )
        return "\n".join(lines)

    def quantize(self, *args, **kwargs):
        """Refused: quantized kernels cannot be shared under masks."""
        raise PhaseError(
            "quantize() on a PackNet would change packed tasks; quantize "
            "packnet_tf.extract(net, task) instead."
        )
