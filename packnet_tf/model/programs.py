"""The programs of a trainer: one for each kind, task and phase."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from packnet_tf.errors import PhaseError
from packnet_tf.model.rules import Rules
from packnet_tf.tf_internals.training import TrainerHooks

KINDS = ("train", "test", "predict")


class _Chooser:
    """What stands in Keras's slot: runs the program of what is active."""

    def __init__(self, kind: str, functions: dict[Any, Any], rules: Rules):
        self._kind = kind
        self._functions = functions
        self._rules = rules

    def __call__(self, data: Any) -> Any:
        rules = self._rules
        rules.check_running()
        function = self._functions.get((self._kind, rules.function_key))
        if function is None:
            raise PhaseError(
                f"There is no {self._kind} function for what is active now; "
                f"call make_{self._kind}_function() after activate(), and in "
                "each phase."
            )
        with rules.own_program():
            return function(data)


class _Programs:
    """Python-side state that Keras must neither track nor save."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.functions: dict[Any, Any] = {}
        self.choosers = {k: _Chooser(k, self.functions, rules) for k in KINDS}
        self.lock = threading.RLock()


class Programs(TrainerHooks):
    """The part of a trainer that makes programs and keeps them.

    Keras has one slot for each kind of program, and goes on with what was
    traced for another task. So what stands in a slot chooses the program
    whenever it is called.
    """

    jit_compile: bool
    run_eagerly: bool

    def program_by(self, rules: Rules) -> None:
        """Makes these rules say what programs depend on."""
        self._programs = _Programs(rules)

    def make_program(
        self, kind: str, make: Callable[[bool], Any], force: bool
    ) -> Any:
        """Makes a program of what is active, if there is none yet.

        Args:
            kind: One of `KINDS`.
            make: Keras's method, which fills its slot.
            force: Whether to make it again.

        Returns:
            What stands in the slot.
        """
        programs, slot = self._programs, f"{kind}_function"
        key = kind, programs.rules.function_key
        with programs.lock:
            if force or key not in programs.functions:
                setattr(self, slot, None)
                with self._compiled_for(kind):
                    make(force)
                programs.functions[key] = getattr(self, slot)
            setattr(self, slot, programs.choosers[kind])
        return programs.choosers[kind]

    def drop_programs(self, *kinds: str) -> set[str]:
        """Forgets programs of these kinds; returns those there were."""
        functions = self._programs.functions
        dropped = [key for key in list(functions) if key[0] in kinds]
        for key in dropped:
            functions.pop(key, None)
        return {kind for kind, _ in dropped}

    @contextlib.contextmanager
    def _compiled_for(self, kind: str) -> Iterator[None]:
        """Keeps `jit_compile` to the training step.

        A task that is packed answers by one program, however the network is
        compiled for training another one: other programs give other bytes.
        """
        if kind == "train":
            yield
            return
        jit, eager = self.jit_compile, self.run_eagerly
        self.jit_compile = False
        if kind == "predict" and self._programs.rules.is_packed:
            self.run_eagerly = False
        try:
            yield
        finally:
            self.jit_compile, self.run_eagerly = jit, eager
