"""Every method learns two tasks, and keeps what it claims to keep."""

import dataclasses

import numpy as np
import pytest
from support.comparisons import make_cell

from packnet_tf import metrics
from packnet_tf.compare.kernels import kernels_of, private_of
from packnet_tf.compare.measure import run_cell
from packnet_tf.compare.methods import METHODS
from packnet_tf.errors import DivergedError
from packnet_tf.options import compare

# Each task's answers are its own for ever.
NEVER_FORGET = (
    "packnet",
    "individual",
    "classifier_only",
    "private_only",
    "piggyback",
    "lora",
    "delta",
)


class Watched:
    """Keeps what a method answers after each task, as bytes."""

    def __init__(self, cell):
        super().__init__(cell)
        self.answers = []
        type(self).last = self

    def learn(self, place):
        super().learn(place)
        if self.together and place == 0:
            return
        found = []
        for old in range(place + 1):
            images = next(iter(self.cell.tests[old]))[0]
            model = self.answering(old)
            found.append(np.asarray(model(images, training=False)).tobytes())
        self.answers.append(found)


@pytest.fixture(scope="module")
def ran(data, network, tmp_path_factory):
    """Returns a function that runs a method once: learner and result."""
    done = {}

    def run(name):
        if name not in done:
            watched = type("W", (Watched, METHODS[name]), {"name": name})
            cell = make_cell(data, network, tmp_path_factory.mktemp(name))
            done[name] = run_cell(watched, cell), watched.last
        return done[name]

    return run


def test_the_names_are_those_of_the_flag():
    assert tuple(METHODS) == compare.METHODS


@pytest.mark.parametrize("name", METHODS)
def test_a_method_learns_two_tasks(ran, name):
    result, _ = ran(name)
    assert (result.method, result.seed, result.diverged) == (name, 0, False)
    assert [len(row) for row in result.test] == [1, 2]
    assert 0 <= result.score <= 1
    assert result.seconds > 0 and result.latency > 0
    first, last = result.sizes
    if name == "joint":
        assert result.test[0] == [None] and first is None and last > 0
    else:
        assert last > first > 0


@pytest.mark.parametrize("name", NEVER_FORGET)
def test_nothing_is_forgotten_to_the_byte(ran, name):
    result, learner = ran(name)
    first, second = learner.answers
    assert first[0] == second[0]
    matrix = metrics.accuracy_matrix(result.test)
    assert metrics.forgetting(matrix) == 0.0
    assert metrics.backward_transfer(matrix) == 0.0


@pytest.mark.parametrize("name", ["finetune", "lwf", "ewc"])
def test_the_others_change_what_they_learned(ran, name):
    first, second = ran(name)[1].answers
    assert first[0] != second[0]


@pytest.mark.parametrize("name", ["private_only", "piggyback", "lora", "delta"])
def test_frozen_kernels_keep_their_bytes(ran, name, network, cell):
    kept = kernels_of(cell().build().backbone)
    for before, now in zip(kept, ran(name)[1].kernels, strict=True):
        assert np.asarray(before).tobytes() == np.asarray(now).tobytes()


def test_only_the_heads_of_classifiers_are_trained(ran, cell):
    untouched = cell().build().backbone.weights
    now = ran("classifier_only")[1].backbone.weights
    for one, other in zip(untouched, now, strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_sizes_are_in_the_order_of_what_is_kept(ran):
    added = {name: np.diff(ran(name)[0].sizes)[0] for name in NEVER_FORGET}
    assert added["classifier_only"] < added["private_only"]
    assert added["piggyback"] < added["individual"]
    assert added["delta"] < added["individual"]


def test_the_test_images_are_not_read_to_choose_a_rate(cell, monkeypatch):
    monkeypatch.setattr(METHODS["finetune"], "save", None)
    result = run_cell(METHODS["finetune"], cell(final=False))
    assert result.test == [] and result.sizes == []
    assert result.latency is None and result.score is not None


def test_divergence_is_a_result(cell, monkeypatch):
    def diverge(self, place):
        raise DivergedError("NaN")

    monkeypatch.setattr(METHODS["individual"], "learn", diverge)
    result = run_cell(METHODS["individual"], cell())
    assert result.diverged and result.score is None


@pytest.mark.parametrize("name", ["individual", "packnet"])
def test_a_rate_that_is_too_high_diverges(cell, name):
    made = cell(tasks=1)
    options = dataclasses.replace(
        made.options, learning_rate=1e30, optimizer="sgd", schedule="constant"
    )
    result = run_cell(METHODS[name], dataclasses.replace(made, options=options))
    assert result.diverged


def test_kernels_and_private_variables_are_those_of_packnet(cell, ran):
    backbone = cell().build().backbone
    net = ran("packnet")[1]._net
    shapes = [tuple(k.variable.shape) for k in net.masked_kernels()]
    assert [tuple(k.shape) for k in kernels_of(backbone)] == shapes
    private = [v.shape for v in net.private_values("first")]
    assert [tuple(v.shape) for v in private_of(backbone)] == private
