"""Copies of a network, and forms of it that cannot hold its tasks."""

import contextlib
from typing import Any

from packnet_tf.errors import NetworkError, PhaseError
from packnet_tf.model.readings import Readings


class Copies(Readings):
    """The part of a `PackNet` that Keras would otherwise copy wrongly."""

    def as_newest(self) -> contextlib.AbstractContextManager[None]:
        """Makes files independent of the active task."""
        raise NotImplementedError

    def __reduce__(self):
        """Makes pickles and copies of all tasks, with the same one active."""
        with self.as_newest():
            make, given = super().__reduce__()
        active = self.active_task
        kernels = self.pretrained_kernels
        kept = (
            None if active is None else active.name,
            # Read now, where a workdir holds them.
            None if kernels is None else [*kernels],
            self.pretrained_private,
        )
        return _copied, (make, given, *kept)

    def export(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Refused: Keras's export has one signature, for one task."""
        raise NetworkError(
            f"export({str(filepath)!r}) would hold one task alone; use "
            "packnet_tf.export_saved_model(net, path) for all tasks, or "
            "packnet_tf.extract(net, task).export(path) for one."
        )

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        """Refused: quantized kernels cannot be shared under masks."""
        raise PhaseError(
            "quantize() on a PackNet would change packed tasks; quantize "
            "packnet_tf.extract(net, task) instead."
        )


def _copied(make, given, active, pretrained_kernels, pretrained_private):
    """Makes the copy that `Copies.__reduce__` describes."""
    net = make(*given)
    net.pretrained_kernels = pretrained_kernels
    net.pretrained_private = pretrained_private
    if active is not None:
        net.activate(active)
    return net
