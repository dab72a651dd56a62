"""Random sequences of calls, legal and not, against a model of NumPy arrays."""

import pathlib
import tempfile

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from packnet_tf.errors import CapacityError, PhaseError, TaskError
from packnet_tf.model.packnet import PackNet

NAMES = st.sampled_from(["a", "b", "c", "d"])
RNG = np.random.default_rng(2)
X = RNG.normal(size=(8, 5)).astype("float32")
Y = RNG.integers(0, 2, 8)


class Machine(RuleBasedStateMachine):
    """`PackNet` beside what it has to be.

    The model: for each kernel its owners, and the values of all that is
    packed; the tasks as [name, phase, trained]; which is active; and the
    scores that each task gave when it was packed.
    """

    @initialize()
    def begin(self):
        keras.utils.set_random_seed(0)
        layers = keras.layers
        self.net = PackNet(
            keras.Sequential(
                [
                    keras.Input((5,)),
                    layers.Dense(6, activation="relu"),
                    layers.Dense(4, activation="tanh"),
                ]
            )
        )
        self.owners = [np.zeros((5, 6), int), np.zeros((6, 4), int)]
        self.packed = [np.zeros((5, 6)), np.zeros((6, 4))]
        self.tasks = []
        self.active = None
        self.scores = {}

    def values(self):
        return [np.asarray(k.variable) for k in self.net.masked_kernels()]

    def names(self):
        return [name for name, _, _ in self.tasks]

    def in_training(self):
        """Whether train, prune and pack are legal, as the phases go."""
        return (
            bool(self.tasks)
            and self.tasks[-1][1] != "packed"
            and self.active == self.tasks[-1][0]
        )

    def free(self):
        return sum(int((owners == 0).sum()) for owners in self.owners)

    @rule(name=NAMES)
    def add(self, name):
        error = None
        if name in self.names():
            error = TaskError
        elif self.tasks and self.tasks[-1][1] != "packed":
            error = PhaseError
        elif self.tasks and self.free() == 0:
            error = CapacityError
        if error:
            with pytest.raises(error):
                self.net.add_task(name, 2, origin="random", seed=1)
            return
        self.net.add_task(name, 2, origin="random", seed=1)
        self.net.compile("adam", "sparse_categorical_crossentropy")
        self.tasks.append([name, "train", False])
        self.active = name
        for owners in self.owners:
            owners[owners == 0] = len(self.tasks)

    @rule()
    def fit(self):
        def run():
            self.net.fit(X, Y, batch_size=8, verbose=0)

        if not self.in_training():
            with pytest.raises(PhaseError):
                run()
            return
        run()
        self.tasks[-1][2] = True

    @rule(fraction=st.sampled_from([0.3, 0.5, 0.9]))
    def prune(self, fraction):
        if not self.in_training() or not self.tasks[-1][2]:
            with pytest.raises(PhaseError):
                self.net.prune(fraction)
            return
        values = self.values()
        self.net.prune(fraction)
        owner = len(self.tasks)
        for value, owners in zip(values, self.owners, strict=True):
            own = np.flatnonzero(owners == owner)
            order = np.argsort(np.abs(value.reshape(-1)[own]), kind="stable")
            count = max(0, min(round(fraction * own.size), own.size - 1))
            owners.reshape(-1)[own[order[:count]]] = 0
        self.tasks[-1][1] = "retrain"

    @rule()
    def pack(self):
        if not self.in_training() or not self.tasks[-1][2]:
            with pytest.raises(PhaseError):
                self.net.pack()
            return
        self.net.pack()
        self.tasks[-1][1] = "packed"
        for packed, value in zip(self.packed, self.values(), strict=True):
            packed[...] = value
        name = self.tasks[-1][0]
        self.scores[name] = self.net.predict(X, verbose=0).tobytes()

    @rule(name=NAMES)
    def activate(self, name):
        if name not in self.names():
            with pytest.raises(TaskError):
                self.net.activate(name)
            return
        self.net.activate(name)
        self.active = name

    @rule()
    def save_and_load(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "net.keras"
            self.net.save(path)
            self.net = keras.saving.load_model(path)
        self.active = self.tasks[-1][0] if self.tasks else None
        if self.in_training():
            self.net.compile("adam", "sparse_categorical_crossentropy")

    @rule(name=NAMES)
    def remove(self, name):
        if name not in self.names() or name != self.names()[-1]:
            with pytest.raises(TaskError):
                self.net.remove_task(name)
            return
        if len(self.tasks) == 1:
            with pytest.raises(PhaseError):
                self.net.remove_task(name)
            return
        self.net.remove_task(name)
        for owners in self.owners:
            owners[owners == len(self.tasks)] = 0
        self.tasks.pop()
        self.scores.pop(name, None)
        self.active = self.tasks[-1][0]

    @rule(old=NAMES, new=NAMES)
    def rename(self, old, new):
        names = self.names()
        if old not in names or (new != old and new in names):
            with pytest.raises(TaskError):
                self.net.rename_task(old, new)
            return
        self.net.rename_task(old, new)
        self.tasks[names.index(old)][0] = new
        if self.active == old:
            self.active = new
        if old in self.scores:
            self.scores[new] = self.scores.pop(old)

    @invariant()
    def agrees(self):
        net = self.net
        assert [[t.name, t.phase, t.trained] for t in net.tasks] == self.tasks
        active = net.active_task
        assert (active.name if active else None) == self.active
        total = sum(owners.size for owners in self.owners)
        assert net.capacity == self.free() / total
        done = sum(phase == "packed" for _, phase, _ in self.tasks)
        for kernel, value, owners, packed in zip(
            net.masked_kernels(),
            self.values(),
            self.owners,
            self.packed,
            strict=True,
        ):
            assert np.array_equal(np.asarray(kernel.mask), owners)
            if self.tasks:
                assert not value[owners == 0].any()
            ours = (owners > 0) & (owners <= done)
            expected = packed.astype(np.float32)[ours]
            assert value[ours].tobytes() == expected.tobytes()
        if self.active in self.scores:
            found = net.predict(X, verbose=0).tobytes()
            assert found == self.scores[self.active]


def run(examples, steps):
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_few_random_sequences():
    run(3, 15)


@pytest.mark.slow
def test_many_random_sequences():
    run(100, 30)
