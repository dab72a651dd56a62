"""Fits a network's kernels and normalizations, one layer after another.

The backbone runs eagerly on every image twice in one batch: the first half of
the rows are those of the unpruned network, the second those of the network as
pruned and fitted so far. Every layer whose kernel changes runs with the
kernels of the one on one half and of the other on the other half; all other
layers treat each row alone and see no difference. So both networks' inputs of
a layer are at hand when it runs, however layers are nested, and where the
activations of all images fit into memory, one pass fits all layers. Otherwise
there is a pass for each, which ends at that layer.

A batch normalization is fitted on the first batch that comes to it, when all
kernels before it are.

Nothing is assigned: the fitted values are returned.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.errors import (
    ConversionError,
    DataError,
    PackNetError,
    first_line,
)
from packnet_tf.reconstruct.changes import Change
from packnet_tf.reconstruct.images import Images
from packnet_tf.reconstruct.items import Item
from packnet_tf.reconstruct.normalization import Normalization
from packnet_tf.reconstruct.rows import is_embedding
from packnet_tf.reconstruct.units import (
    Unit,
    halves,
    joined,
    replaced_calls,
    same_halves,
    units_of,
)
from packnet_tf.tf_internals.layers import forgetful_graphs

Report = Callable[[int, int], None]

# Inputs and outputs of the largest layer for both networks and all images,
# up to which the activations are carried along. Several of that size exist
# at once.
CARRIED_BYTES = 1 << 30
# Rows are read for so many images at a time.
_PART = 32


class _Stop(BaseException):
    """Ends a pass. Keras turns an Exception inside a layer into its own."""

    def __init__(self, error: Exception | None = None):
        super().__init__()
        self.error = error


def reconstruct(
    backbone: keras.Model,
    changes: Sequence[Change],
    images: Any,
    *,
    normalizations: Sequence[Normalization] = (),
    report: Report = lambda done, total: None,
    carried_bytes: int = CARRIED_BYTES,
) -> list[str]:
    """Fits the changed kernels so that the network answers as it did.

    The network is only read; the values are in the changes afterwards, as
    `fitted`, for each change that matters, and in the normalizations. The
    same network and images give the same bytes.

    Args:
        backbone: The masked backbone, in no task's view.
        changes: What happens to its kernels.
        images: See `Images`.
        normalizations: The batch normalizations whose statistics may change.
            Those that run several times keep them.
        report: Called with the number of kernels fitted, and of all.
        carried_bytes: See `CARRIED_BYTES`.

    Returns:
        The paths of changed kernels that keep their values: those of
        recurrent cells, and of layers whose `call` is not that of a Keras
        layer.

    Raises:
        DataError: If the images are unsuitable.
        ConversionError: If a layer with a changed kernel never runs.
    """
    changes = [change for change in changes if change.matters]
    walk = _Walk(backbone, changes, normalizations, Images(images), report)
    return walk.run(carried_bytes)


class _Walk:
    """One fit of a network."""

    def __init__(self, backbone, changes, normalizations, images, report):
        self._backbone = backbone
        self._changes = changes
        self._images = images
        self._report = report
        self._units: list[Unit] = units_of(backbone, changes, normalizations)
        self._left: list[Item] = []
        self._at_hand = 0  # Images of the batch that runs.
        self._pruned: bool | None = None  # Whose kernels a layer runs with.
        self._number = 0  # Of all kernels to fit.
        # The kernels that a pass only collects rows for, and how many calls
        # of their layers are still to come in this batch.
        self._targets: list[Item] = []
        self._to_come = 0
        self._collecting = False  # Whether this batch has come to one.

    def run(self, carried_bytes: int) -> list[str]:
        if not self._changes:
            return []
        self._probe()
        self._left = [item for unit in self._units for item in unit.items]
        self._number = len(self._left)
        kept = {id(c) for c in self._changes}
        kept -= {id(item.change) for item in self._left}
        # Each token has its own weights: those that stay fit as they are.
        kept -= {id(c) for c in self._changes if is_embedding(c.kernel.layer)}
        image = 2 * max(unit.bytes for unit in self._units)
        size = max(1, carried_bytes // max(1, image))
        at_once = size >= self._images.count and not self._images.streamed
        self._report(0, self._number)
        with replaced_calls(self._units, self._run_layer):
            while self._left:
                self._pass(size, [] if at_once else self._left[:1])
            norms = [u.normalization for u in self._units if u.normalization]
            if any(norm.mean is None for norm in norms):
                # Those after the last kernel.
                self._targets = []
                self._run_backbone(self._images.first(size))
        return [c.kernel.path for c in self._changes if id(c) in kept]

    def _pass(self, size: int, targets: list[Item]) -> None:
        """Runs the backbone on all images.

        Args:
            size: Images of a batch.
            targets: What to collect rows for, after which a batch ends. With
                none, each kernel is fitted as soon as its layer runs.
        """
        before = len(self._left)
        self._targets = targets
        for batch in self._images.batches(size):
            units = {id(unit): unit.calls for unit in map(self._unit, targets)}
            self._to_come = sum(units.values())
            self._run_backbone(batch)
        for item in self._targets:
            if item.statistics is not None:
                self._fit(item)
        if len(self._left) == before:
            raise _never_runs(self._unit(self._left[0]))

    def _unit(self, item: Item) -> Unit:
        return next(unit for unit in self._units if item in unit.items)

    def _run_backbone(self, batch: Any) -> None:
        self._check_shapes(batch)
        self._collecting = False
        self._at_hand = len(keras.tree.flatten(batch)[0])
        twice = keras.tree.map_structure(
            lambda x: np.concatenate([x, x]), batch
        )
        try:
            with forgetful_graphs(self._backbone):
                self._backbone(twice, training=False)
        except _Stop as stop:
            if stop.error is not None:
                raise stop.error from None
        except Exception as error:
            shapes = [x.shape[1:] for x in keras.tree.flatten(batch)]
            raise DataError(
                f"images=: the network {self._backbone.name!r} cannot run on "
                f"images of shape {', '.join(map(str, shapes))}: "
                f"{first_line(error)}"
            ) from error

    def _check_shapes(self, batch: Any) -> None:
        """Refuses other shapes than the inputs', which Keras would take."""
        given = [x.shape[1:] for x in keras.tree.flatten(batch)]
        inputs = getattr(self._backbone, "inputs", None) or ()
        taken = [tuple(x.shape[1:]) for x in inputs]
        if len(given) != len(taken):
            return
        for one, other in zip(given, taken, strict=True):
            if len(one) == len(other) and any(
                size is not None and size != number
                for number, size in zip(one, other, strict=True)
            ):
                raise DataError(
                    f"images=: they have the shape {one}, and the network "
                    f"{self._backbone.name!r} takes {other}; give them as "
                    "fit() gets them."
                )

    def _probe(self) -> None:
        """Finds the order of the layers, and what they take."""
        met: list[Unit] = []
        with replaced_calls(
            self._units, functools.partial(self._probe_layer, met)
        ):
            self._run_backbone(self._images.first(2))
        for unit in self._units:
            if unit.changes and unit not in met:
                raise _never_runs(unit)
        self._units = met
        for unit in met:
            if unit.normalization and unit.calls > 1:
                unit.keep()

    def _probe_layer(self, met, unit, stock, args, kwargs):
        if unit not in met:
            met.append(unit)
        unit.calls += 1
        inside, self._pruned = self._pruned is not None, False
        try:
            with unit.with_kernels(False):
                outputs = stock(*args, **kwargs)
        finally:
            if not inside:
                self._pruned = None
        x = _inputs(args, kwargs)
        at_hand = tf.is_tensor(x) and hasattr(x, "numpy")
        # Rows must be each image's own, and in the order of the images.
        if at_hand and not inside and not same_halves(x):
            unit.by_image = False
        if inside or not at_hand or not unit.by_image:
            unit.keep()
        for item in unit.items:
            count = item.form.count(tuple(x.shape))
            item.rows += count // (2 * self._at_hand)
        tensors = keras.tree.flatten([args, kwargs, outputs])
        unit.bytes = max(
            unit.bytes,
            sum(_bytes(t) for t in tensors) // (2 * self._at_hand),
        )
        return outputs

    def _run_layer(self, unit, stock, args, kwargs):
        if self._pruned is not None:
            # Inside a layer that runs for one of the networks already.
            with unit.with_kernels(self._pruned):
                return stock(*args, **kwargs)
        if not unit.by_image:
            # What it gives is of both networks, as a table of positions.
            with unit.with_kernels(True):
                return stock(*args, **kwargs)
        self._learn(unit, args, kwargs)
        parts = halves((args, kwargs), self._at_hand)
        outputs = []
        for pruned, (some, named) in zip((False, True), parts, strict=True):
            self._pruned = pruned
            try:
                with unit.with_kernels(pruned):
                    outputs.append(stock(*some, **named))
            finally:
                self._pruned = None
        return joined(*outputs)

    def _learn(self, unit, args, kwargs) -> None:
        """Takes in the rows of a layer, and fits its kernels if it can."""
        norm = unit.normalization
        # The kernels before it must be fitted.
        if norm and norm.mean is None and not self._collecting:
            if not norm.fit(*self._parts(_inputs(args, kwargs))):
                raise _Stop(_not_finite(norm.layer.moving_mean.path))
        due = [item for item in unit.items if item.change.fitted is None]
        if not due:
            return
        if not self._targets and unit.calls > 1:
            # Its rows are complete only later in this pass.
            self._targets = due[:1]
            self._to_come = unit.calls
        x = _inputs(args, kwargs)
        if not self._targets:
            for item in due:
                self._collect(item, unit, x)
                try:
                    self._fit(item)
                except PackNetError as error:
                    raise _Stop(error) from error
            return
        wanted = [item for item in due if item in self._targets]
        for item in wanted:
            self._collect(item, unit, x)
        if wanted:
            self._to_come -= 1
            if self._to_come == 0:
                raise _Stop

    def _collect(self, item: Item, unit: Unit, x: tf.Tensor) -> None:
        self._collecting = bool(self._targets)
        count = self._images.count
        item.collect(*self._parts(x), count, unit.with_kernels)

    def _parts(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, int]:
        """Returns both networks' rows, and how many to read at a time."""
        (unpruned,), (pruned,) = halves([x], self._at_hand)
        return unpruned, pruned, _PART * unpruned.shape[0] // self._at_hand

    def _fit(self, item: Item) -> None:
        if not item.fit():
            raise _not_finite(item.change.kernel.path)
        self._left.remove(item)
        self._report(self._number - len(self._left), self._number)


def _never_runs(unit: Unit) -> ConversionError:
    return ConversionError(
        f"Layer {unit.layer.name!r} never runs in inference, so what is left "
        "of its kernels cannot be fitted; leave it out of the backbone, or "
        "prune without images."
    )


def _not_finite(path: str) -> DataError:
    return DataError(
        f"images=: the network's values at {path} are not finite; check the "
        "images and the training."
    )


def _inputs(args: tuple, kwargs: dict[str, Any]) -> Any:
    """Returns the inputs of a layer with one input, however it is called."""
    return args[0] if args else kwargs.get("inputs")


def _bytes(x: Any) -> int:
    shape = getattr(x, "shape", None)
    if not shape or None in shape:
        return 0
    return math.prod(shape) * tf.as_dtype(x.dtype).size
