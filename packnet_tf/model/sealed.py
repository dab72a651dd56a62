"""The record of what packed tasks compute, beside their digests."""

import copy
import json
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import keras
import numpy as np

from packnet_tf.errors import PhaseError, PromiseError, StateError
from packnet_tf.model import architecture
from packnet_tf.model.architecture import Form
from packnet_tf.task import Task
from packnet_tf.tf_internals.layers import layers_of

_BACKBONE = "backbone"


class Sealed:
    """The settings of all layers behind packed tasks, since they were packed.

    Tasks share the backbone, so that there is one record of it, from when the
    first one was packed, and one of each packed task's head.

    Args:
        backbone: The masked backbone.
        heads: The network's list of heads, one for each task.
    """

    def __init__(
        self, backbone: keras.Model, heads: Sequence[keras.layers.Layer]
    ):
        self._backbone = backbone
        self._heads = heads
        self._forms: dict[str, list[Form]] = {}
        self._late = False

    def keep(self, task: Task) -> None:
        """Records what a task computes that is packed now."""
        for part, form in self._now([task]):
            self._forms.setdefault(part, form)

    def forget(self, task: Task) -> None:
        """Forgets a task that is removed."""
        self._forms.pop(str(task.owner), None)

    def refuse_changed(self, packed: Sequence[Task]) -> None:
        """Compares the settings of all layers with those when it was packed.

        Of tasks from files without a record, as earlier versions wrote them,
        it is made now.

        Args:
            packed: The packed tasks.

        Raises:
            PromiseError: Naming the tasks, the layer and the setting.
        """
        self._refuse(packed, self._forms, self._now(packed))
        if packed and _missing(packed, self._forms):
            self._late = True
            for task in packed:
                self.keep(task)

    def is_certain(self, packed: Sequence[Task]) -> bool:
        """Whether the records are the tasks' own, and the same to the letter.

        They are not for tasks of earlier versions, and of settings that
        another release of Keras added or took away nothing is known.

        Args:
            packed: The packed tasks.
        """
        return not self._late and all(
            part in self._forms
            and architecture.same_to_the_letter(self._forms[part], form)
            for part, form in self._now(packed)
        )

    def refuse_other(self, packed: Sequence[Task], stored: Any) -> None:
        """Refuses a file's records that do not suit the network.

        Args:
            packed: The file's packed tasks, which the network has too.
            stored: What `stored` returned when it was written, or None.

        Raises:
            PromiseError: As `refuse_changed`.
            StateError: If the records are damaged.
        """
        # A file's network gets its vocabularies after its tasks.
        now = self._now(packed, with_state=False)
        self._refuse(packed, _read(stored), now)

    def stored(self) -> np.ndarray:
        """Returns the records as a file holds them; uint8."""
        text = json.dumps(self._forms, sort_keys=True)
        return np.frombuffer(text.encode(), np.uint8)

    def take_over(self, stored: Any) -> None:
        """Takes a file's records in place of its own.

        Args:
            stored: As for `refuse_other`.
        """
        self._forms = _read(stored)
        self._late = False

    def copy(self) -> Self:
        """Returns what `restore` takes."""
        return copy.copy(self)

    def restore(self, before: Self) -> None:
        """Goes back to what `copy` returned."""
        self._forms, self._late = dict(before._forms), before._late

    def _now(
        self, tasks: Sequence[Task], with_state: bool = True
    ) -> Iterator[tuple[str, list[Form]]]:
        if tasks:
            yield _BACKBONE, architecture.form_of(self._backbone, with_state)
        for task in tasks:
            head = self._heads[task.owner - 1]
            scores = {
                "name": head.name,
                "class": "scores",
                "settings": {"activation": task.activation},
            }
            yield (
                str(task.owner),
                [*architecture.form_of(head, with_state), scores],
            )

    def _refuse(self, packed, then, now) -> None:
        for part, form in now:
            changed = list(architecture.differences(then.get(part, form), form))
            if changed:
                names = ", ".join(
                    task.name
                    for task in packed
                    if part in (_BACKBONE, str(task.owner))
                )
                more = f" (and {len(changed) - 1} more)" if changed[1:] else ""
                raise PromiseError(
                    f"Packed task(s) {names} would answer otherwise than when "
                    f"they were packed: {changed[0]}{more}. Set it back, or "
                    "load the last packed state."
                )


def _missing(packed: Sequence[Task], forms: dict[str, list[Form]]) -> bool:
    parts = {_BACKBONE, *(str(task.owner) for task in packed)}
    return not parts <= forms.keys()


def _read(stored: Any) -> dict[str, list[Form]]:
    """Returns records that were stored; none of a file without any."""
    if stored is None:
        return {}
    try:
        forms = json.loads(np.asarray(stored).tobytes())
        for form in forms.values():
            for part in form:
                part["name"], part["class"], part["settings"]
        return forms
    except Exception as error:
        raise StateError(
            "The file's record of the architecture is damaged; restore it "
            "from a copy."
        ) from error


def forbid_adapt(
    backbone: keras.Model, packed: Callable[[], Sequence[Task]]
) -> None:
    """Makes `adapt` of preprocessing layers refuse once a task is packed.

    Args:
        backbone: The masked backbone.
        packed: Returns the packed tasks.
    """

    def adapt(layer, *args, **kwargs):
        if tasks := packed():
            raise PhaseError(
                f"adapt() of layer {layer.name!r}: packed task(s) "
                f"{', '.join(task.name for task in tasks)} answer with what it "
                "has learned of their data, which all tasks share; adapt it "
                "before the first pack(), or give the new data to a network "
                "of its own."
            )
        return type(layer).adapt(layer, *args, **kwargs)

    for layer in layers_of(backbone):
        if callable(getattr(type(layer), "adapt", None)):
            # Past Keras's tracking of attributes.
            vars(layer)["adapt"] = types.MethodType(adapt, layer)
