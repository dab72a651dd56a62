"""Every phase gets a fresh optimizer, or `compile` changes nothing."""

import keras
import numpy as np
import pytest
from support.blob_nets import A_LABELS, A, new_net

from packnet_tf.errors import ProtectionError

LOSS = "sparse_categorical_crossentropy"


class Warm(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that nothing registered."""

    def __init__(self, peak):
        self.peak = peak

    def __call__(self, step):
        return self.peak

    def get_config(self):
        return {"peak": self.peak}


class Bare(Warm):
    """A schedule without a configuration of its own."""

    def get_config(self):
        raise NotImplementedError


class Scaled(keras.optimizers.SGD):
    """An optimizer of the user's own, which Keras cannot find by its name."""

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor


class Complete(Scaled):
    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def _rate():
    return 0.25


SCHEDULES = {
    "lambda": lambda: 0.25,
    "function": _rate,
    "schedule": Warm(0.25),
    "bare": Bare(0.25),
    "stock": keras.optimizers.schedules.ExponentialDecay(0.25, 10, 1.0),
}
AROUND = {
    "alone": lambda optimizer: optimizer,
    "scaled": lambda optimizer: keras.optimizers.LossScaleOptimizer(optimizer),
}


def with_task():
    net = new_net()
    net.add_task("one", 3)
    return net


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize("rate", SCHEDULES.values(), ids=SCHEDULES)
def test_schedules_and_callables_serve_every_phase(rate, around):
    net = with_task()
    given = around(Complete(3, learning_rate=rate, momentum=0.5))
    net.compile(given, LOSS)
    seen = [given]
    for phase in ("train", "retrain"):
        assert net.phase == phase
        assert all(net.optimizer is not older for older in seen)
        net.fit(A, A_LABELS, batch_size=100, verbose=0)
        made = getattr(net.optimizer, "inner_optimizer", net.optimizer)
        assert type(made) is Complete
        assert (made.factor, made.momentum) == (3, 0.5)
        assert float(made.learning_rate) == 0.25
        assert int(made.iterations) == 2
        seen.append(net.optimizer)
        if phase == "train":
            net.prune(0.5)
    net.pack()
    # The user's own is as it was, and was never used.
    assert not given.built and float(given.learning_rate) == 0.25


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_an_optimizer_that_cannot_be_made_again_is_named(around):
    net = with_task()
    with pytest.raises(ProtectionError, match="Scaled.*get_config") as raised:
        net.compile(around(Scaled(2.0)), LOSS)
    assert "\n" not in str(raised.value)
    assert not net.compiled and net.optimizer is None


def test_a_failed_compile_leaves_the_last_one():
    net = with_task()
    net.compile(keras.optimizers.SGD(0.125), LOSS, metrics=["accuracy"])
    net.fit(A, A_LABELS, verbose=0)
    before, optimizer = net.evaluate(A, A_LABELS, verbose=0), net.optimizer
    with pytest.raises(ProtectionError):
        net.compile(Scaled(2.0), "mse")
    assert net.optimizer is optimizer and net.loss == LOSS
    assert net.evaluate(A, A_LABELS, verbose=0) == before
    net.prune(0.5)
    assert float(net.optimizer.learning_rate) == 0.125
    net.fit(A, A_LABELS, verbose=0)
    assert np.isfinite(net.evaluate(A, A_LABELS, verbose=0)).all()


@pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"),
    reason="Keras has it from 3.15 on",
)
def test_parts_of_an_optimizer_keep_their_schedules():
    rates = [Bare(0.25), lambda: 0.5]
    default, mapped = map(keras.optimizers.SGD, rates)
    net = with_task()
    net.compile(
        keras.optimizers.MultiOptimizer(
            keras.optimizers.OptimizerMap(default, {".*kernel": mapped})
        ),
        LOSS,
    )
    net.fit(A, A_LABELS, verbose=0)
    made = [float(part.learning_rate) for part in net.optimizer.optimizers]
    assert sorted(made) == [0.25, 0.5]
