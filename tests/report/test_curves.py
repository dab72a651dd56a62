"""Epochs of a manifest as arrays, whoever wrote it."""

import doctest

import numpy as np
import pytest

from packnet_tf.report import curves
from packnet_tf.report.curves import Span, curve_of


def epochs(phase, count, **figures):
    return [{"phase": phase, "epoch": i + 1, **figures} for i in range(count)]


def pruning(fraction, epochs=0):
    return {"fraction": fraction, "gradual_epochs": epochs}


def test_examples_of_the_docstrings():
    assert doctest.testmod(curves).failed == 0


def test_phases_and_pruned_shares_of_a_task():
    history = epochs("train", 2, loss=0.5) + epochs("retrain", 3, loss=0.25)
    curve = curve_of(
        "birds",
        {"accuracy_pruned": 0.5},
        {"history": history, "pruning": [pruning(0.75)]},
    )
    assert curve.spans == (Span("train", 0, 2), Span("retrain", 2, 5))
    assert curve.pruned.tolist() == [0, 0, 0.75, 0.75, 0.75]
    assert curve.series.keys() == {"loss"}
    assert curve.series["loss"].tolist() == [0.5, 0.5, 0.25, 0.25, 0.25]
    assert (curve.epochs, curve.after_pruning) == (5, 0.5)


def test_gradual_pruning_rises_to_its_fraction():
    history = epochs("train", 1) + epochs("retrain", 3)
    facts = {"history": history, "pruning": [pruning(0.8, epochs=2)]}
    shares = curve_of("birds", {}, facts).pruned
    assert shares.tolist() == pytest.approx([0, 0.7, 0.8, 0.8])


def test_what_is_pruned_twice_is_pruned_of_what_is_left():
    history = epochs("train", 1) + epochs("retrain", 1) + epochs("retrain", 2)
    facts = {"history": history, "pruning": [pruning(0.5), pruning(0.5)]}
    curve = curve_of("birds", {}, facts)
    assert [s.stop for s in curve.spans] == [1, 2, 4]
    assert curve.pruned.tolist() == [0, 0.5, 0.75, 0.75]
    # Gradual fractions are those of what was claimed.
    facts["pruning"][1] = pruning(0.75, epochs=1)
    assert curve_of("birds", {}, facts).pruned.tolist() == [0, 0.5, 0.75, 0.75]


def test_a_base_task_recovers_pruned():
    facts = {
        "history": epochs("recovery", 2, loss=1.0),
        "network": {"base_prune_fraction": 0.5},
    }
    curve = curve_of("imagenet", {}, facts)
    assert curve.spans == (Span("recovery", 0, 2),)
    assert curve.pruned.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("history", [None, [], "none", {}, [1, None], [{}]])
def test_no_history_is_no_curve(history):
    assert curve_of("birds", {}, {"history": history}) is None
    assert curve_of("birds", {}, {}) is None


@pytest.mark.parametrize("pruned", [None, 5, ["all"], [{"fraction": "much"}]])
def test_figures_are_whatever_a_program_kept(pruned):
    history = epochs("train", 1, loss="low") + epochs("retrain", 1, loss=True)
    history[1]["val_accuracy"] = 0.5
    facts = {"history": history, "pruning": pruned, "network": 3}
    curve = curve_of("birds", {"accuracy_pruned": "?"}, facts)
    assert curve.pruned.tolist() == [0, 0]
    assert curve.after_pruning is None
    assert curve.series.keys() == {"val_accuracy"}
    assert np.isnan(curve.series["val_accuracy"][0])
