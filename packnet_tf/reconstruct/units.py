"""The layers that change, and how their `call` is replaced."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.layers import Masked
from packnet_tf.reconstruct.changes import Change
from packnet_tf.reconstruct.items import Item
from packnet_tf.reconstruct.normalization import Normalization
from packnet_tf.reconstruct.rows import form_of
from packnet_tf.tf_internals.layers import hidden_name, layers_of


@dataclasses.dataclass(eq=False)
class Unit:
    """A layer that runs once for the unpruned and once for the pruned network.

    Attributes:
        layer: The layer.
        changes: The changes of its kernels, and of the cells inside.
        items: Those of them that are fitted, in the order of their use.
        normalization: What to fit of a batch normalization, or None.
        by_image: Whether the rows of its inputs are those of the images.
        calls: How often it runs in one pass.
        bytes: Of its inputs and outputs for one image.
    """

    layer: Any
    changes: list[Change]
    items: list[Item]
    normalization: Normalization | None = None
    by_image: bool = True
    calls: int = 0
    bytes: int = 0

    def keep(self) -> None:
        """Leaves the values as they are after the change."""
        self.items, self.normalization = [], None
        for change in self.changes:
            change.fitted = change.start

    @contextlib.contextmanager
    def with_kernels(self, pruned: bool) -> Iterator[None]:
        """Gives the layer the values of one of the two networks.

        A kernel that is not fitted yet is in both what it was before: the
        layers after it then see what they will see once it is.
        """
        places = []
        for own, name, value in self._values(pruned):
            places.append((own, name, own[name]))
            own[name] = value
        try:
            yield
        finally:
            for own, name, variable in places:
                own[name] = variable

    def _values(self, pruned: bool) -> Iterator[tuple[dict, str, Any]]:
        for change in self.changes:
            layer = change.kernel.layer
            value = change.fitted if pruned else None
            value = change.before if value is None else value
            # The autocast of mixed precision reaches variables alone.
            value = tf.cast(value, layer.compute_dtype)
            yield vars(layer), hidden_name(change.kernel.name), value
            # The value is what the task sees already.
            yield vars(layer), f"{change.kernel.name}_mask", None
        norm = self.normalization
        if pruned and norm is not None and norm.mean is not None:
            own = vars(norm.layer)
            yield own, "moving_mean", tf.constant(norm.mean)
            yield own, "moving_variance", tf.constant(norm.variance)


def units_of(
    model: keras.Model,
    changes: Sequence[Change],
    normalizations: Sequence[Normalization] = (),
) -> list[Unit]:
    """Returns the layers that change.

    Args:
        model: The masked backbone.
        changes: The changes that matter.
        normalizations: The normalizations to fit.
    """
    by_layer: dict[int, list[Change]] = {}
    for change in changes:
        by_layer.setdefault(id(change.kernel.layer), []).append(change)
    units: dict[int, Unit] = {}
    for layer in layers_of(model):
        # A fused program may run a recurrent layer without its cell.
        if isinstance(layer, keras.layers.RNN):
            parts = layers_of(layer)
        elif isinstance(layer, Masked):
            parts = [layer]
        else:
            continue
        found = [c for part in parts for c in by_layer.pop(id(part), [])]
        if found:
            units[id(layer)] = _unit(layer, found)
    return [
        *units.values(),
        *(Unit(n.layer, [], [], normalization=n) for n in normalizations),
    ]


def _unit(layer, changes: list[Change]) -> Unit:
    items = []
    for change in changes:
        if change.kernel.layer is layer:
            form = form_of(layer, change.kernel.name, change.before.shape)
            if form is not None:
                items.append(Item(change, form))
    unit = Unit(layer, changes, items)
    kept = {id(i.change) for i in items}
    for change in changes:
        if id(change) not in kept:
            change.fitted = change.start
    return unit


Run = Callable[[Unit, Callable[..., Any], tuple, dict[str, Any]], Any]


@contextlib.contextmanager
def replaced_calls(units: Sequence[Unit], run: Run) -> Iterator[None]:
    """Lets `run` compute what the layers compute.

    Args:
        units: The layers.
        run: Called with the unit, its stock `call`, and its arguments.
    """

    def replacement(unit: Unit, stock):
        return lambda *args, **kwargs: run(unit, stock, args, kwargs)

    for unit in units:
        # In the instance's own dictionary: `setattr` would make Keras track.
        vars(unit.layer)["call"] = replacement(unit, unit.layer.call)
    try:
        yield
    finally:
        for unit in units:
            del vars(unit.layer)["call"]


def halves(values: Any, images: int) -> tuple[Any, Any]:
    """Splits the rows of each tensor: those of the two networks.

    Args:
        values: Any structure.
        images: How many images each network has.
    """

    def part(x, second):
        rows = getattr(x, "shape", ())
        if not rows or rows[0] is None or rows[0] % (2 * images):
            return x
        middle = rows[0] // 2
        return x[middle:] if second else x[:middle]

    return tuple(
        keras.tree.map_structure(lambda x, s=second: part(x, s), values)
        for second in (False, True)
    )


def joined(unpruned: Any, pruned: Any) -> Any:
    """Joins the outputs of the two networks again."""
    return keras.tree.map_structure(
        lambda *both: tf.concat(both, axis=0), unpruned, pruned
    )


def same_halves(x: Any) -> bool:
    """Whether both halves of a tensor's rows are (nearly) the same."""
    whole = np.asarray(x, np.float64)
    if len(whole) % 2:
        return False
    if not np.isfinite(whole).all():
        return True  # Which halves cannot tell; it is found out later.
    first, second = np.split(whole, 2)
    size = max(float(np.abs(whole).max(initial=0.0)), 1e-30)
    return bool(np.abs(first - second).max(initial=0.0) <= 1e-2 * size)
