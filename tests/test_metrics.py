"""Metrics of continual learning, on matrices worked out by hand."""

import doctest

import numpy as np
import pytest

from packnet_tf import metrics
from packnet_tf.errors import PackNetError

NAN = np.nan
# Three tasks: the first loses much, the second gains, the third is new.
FORGETS = np.array(
    [
        [0.75, 0.5, 0.25],
        [1.0, 0.25, 0.5],
        [0.5, 0.75, 1.0],
    ]
)
# The same without what a network with a head for each task cannot answer.
LOWER = np.where(np.tri(3, dtype=bool), FORGETS, NAN)
KEEPS = np.array([[0.7, NAN, NAN], [0.7, 0.1, NAN], [0.7, 0.1, 0.3]])


def test_examples_of_the_docstrings():
    assert doctest.testmod(metrics).failed == 0


def test_values_by_hand():
    assert metrics.average_accuracy(LOWER) == 0.75  # (.5 + .75 + 1) / 3
    # (.5 - .75) and (.75 - .25), halved.
    assert metrics.backward_transfer(LOWER) == 0.125
    # Best of task 1 is 1.0, after task 2; of task 2 it is its own .25.
    assert metrics.forgetting(LOWER) == 0.0  # (.5 - .5) / 2
    # Of task 2 the best is then .5, before it was learned.
    assert metrics.forgetting(FORGETS) == 0.125  # (.5 - .25) / 2
    untrained = np.array([0.0, 0.25, 0.125])
    # (.5 - .25) and (.5 - .125), halved.
    assert metrics.forward_transfer(FORGETS, untrained) == 0.3125
    reference = np.array([0.875, 0.25, 0.5])
    assert metrics.intransigence(LOWER, reference).tolist() == [0.125, 0, -0.5]


def test_a_matrix_may_be_lists():
    reference = [0.875, 0.25, 0.5]
    rows = LOWER.tolist()
    rows[0][1] = None
    assert metrics.average_accuracy(rows, [0, 2]) == 0.75
    for function in (metrics.forgetting, metrics.backward_transfer):
        assert function(rows) == function(LOWER)
        assert function(rows, [1]) == function(LOWER, np.array([1]))
    assert metrics.intransigence(rows, reference).tolist() == [0.125, 0, -0.5]
    assert metrics.forward_transfer(FORGETS.tolist(), [0, 0.25, 0.125]) > 0


def test_what_never_changes_loses_exactly_nothing():
    assert metrics.forgetting(KEEPS) == 0.0
    assert metrics.backward_transfer(KEEPS) == 0.0


def test_one_task_has_nothing_to_forget():
    one = np.array([[0.25]])
    assert metrics.average_accuracy(one) == 0.25
    assert metrics.forgetting(one) == metrics.backward_transfer(one) == 0.0
    assert metrics.forward_transfer(one, np.array([0.5])) == 0.0


def test_a_matrix_is_made_of_rows_of_any_length():
    found = metrics.accuracy_matrix([[0.5], [None, 1], [0.25, 0.75, 1.0]])
    expected = [[0.5, NAN, NAN], [NAN, 1, NAN], [0.25, 0.75, 1.0]]
    assert np.array_equal(found, expected, equal_nan=True)


def test_capacity_and_bits_by_hand():
    owned = {0: 25, 1: 50, 3: 25}
    assert metrics.capacity_by_task(owned, 3).tolist() == [0.5, 0.0, 0.25]
    # 32 bits of a float32 and 2 of a mask.
    assert metrics.bits_per_weight(34 * 1000 // 8, 1000) == 34.0


@pytest.mark.parametrize(
    "call, line",
    [
        (lambda: metrics.accuracy_matrix([[0.1, 0.2]]), "Row 1 .* 2 tasks"),
        (lambda: metrics.accuracy_matrix([[1.5]]), "holds 1.5; expected"),
        (lambda: metrics.forgetting(np.zeros((2, 3))), r"shape \(2, 3\)"),
        (lambda: metrics.average_accuracy(np.zeros((0, 0))), r"\(0, 0\)"),
        (lambda: metrics.backward_transfer(-KEEPS), "holds -0.7"),
        (
            lambda: metrics.average_accuracy(np.full((2, 2), NAN)),
            "task 1 after the last task is missing; measure it",
        ),
        (
            lambda: metrics.forgetting(
                np.array([[0.1, NAN, NAN], [0.1, NAN, NAN], [0.1, 0.1, 0.1]])
            ),
            "task 2 after it was learned is missing",
        ),
        (
            lambda: metrics.forward_transfer(LOWER, np.zeros(3)),
            "task 2 before it is learned is missing",
        ),
        (
            lambda: metrics.intransigence(LOWER, np.zeros(2)),
            r"reference has shape \(2,\); expected \(3,\)",
        ),
        (lambda: metrics.capacity_by_task({}, 1), "no shared weights"),
        (lambda: metrics.bits_per_weight(1, 0), "received 0"),
    ],
)
def test_what_cannot_be_computed_is_named(call, line):
    with pytest.raises(PackNetError, match=line):
        call()
