"""What a trainer asks of the one who knows what is trained."""

import contextlib
from typing import Any, Protocol

from packnet_tf.model.protection import Protection


class Rules(Protocol):
    """What a trainer asks of the one who knows what is trained."""

    @property
    def function_key(self) -> Any:
        """All that a traced function depends on."""

    @property
    def objective_key(self) -> Any:
        """All that the state of losses and metrics depends on."""

    @property
    def is_packed(self) -> bool:
        """Whether what is active can never change again."""

    def own_program(self) -> contextlib.AbstractContextManager[None]:
        """Makes this thread run the network's own program."""

    def inside(self, method: str) -> contextlib.AbstractContextManager[None]:
        """Notes that this thread is inside a method of the network."""

    def check_running(self) -> None:
        """Refuses to go on for another task than a method began with."""

    def check_loaded(self) -> None:
        """Refuses a network whose weights have not been loaded yet."""

    def protection(self, stale_slots: bool) -> Protection:
        """Returns what may change now; raises where nothing is trained."""

    def check_objective(self, loss: Any, metrics: Any, trains: bool) -> None:
        """Refuses a loss and metrics that do not suit the outputs."""

    def check_labels(self, loss: Any, labels: Any) -> None:
        """Refuses labels that are no classes of the outputs."""

    def check_step(self, inputs: Any) -> None:
        """Refuses what a training step's inputs show to be unsafe."""

    def trains_with(self, loss: Any) -> None:
        """Takes note that training has begun, with this loss."""
