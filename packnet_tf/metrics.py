"""Metrics of continual learning, as functions of NumPy arrays.

All but the last two read the *accuracy matrix* R of Lopez-Paz and Ranzato
(2017, "Gradient Episodic Memory for Continual Learning", section 2), an array
of shape [tasks, tasks]: R[i, j] is the test accuracy on task j, from 0 to 1,
after task i was learned. NaN stands for what was not measured; most methods
can say nothing of a task before they learn it, so the entries above the
diagonal are mostly NaN.

For PackNet, whose packed tasks never change, R[i, j] equals R[j, j] for every
later task i: its forgetting and its backward transfer are exactly 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from packnet_tf.errors import PackNetError


def accuracy_matrix(rows: Sequence[Sequence[float | None]]) -> np.ndarray:
    """Returns the matrix R of what was measured after each task.

    Args:
        rows: One sequence for each task learned, with the accuracy on the
            first tasks or on all; None for what was not measured.

    Returns:
        float64 array of shape [tasks, tasks], NaN where there is no value.

    Raises:
        PackNetError: If a row is too long, or a value is not from 0 to 1.

    Example:
        >>> accuracy_matrix([[0.9], [0.8, 0.7]])
        array([[0.9, nan],
               [0.8, 0.7]])
    """
    matrix = np.full((len(rows), len(rows)), np.nan)
    for place, row in enumerate(rows):
        if len(row) > len(rows):
            raise PackNetError(
                f"Row {place + 1} has accuracies of {len(row)} tasks; expected "
                f"{len(rows)} at most, as many as there are rows."
            )
        matrix[place, : len(row)] = [np.nan if x is None else x for x in row]
    _check(matrix)
    return matrix


def average_accuracy(
    matrix: np.ndarray, tasks: np.ndarray | None = None
) -> float:
    """Returns the mean accuracy on all tasks after the last one.

    The "ACC" of Lopez-Paz and Ranzato (2017), and A_T of Chaudhry et al.
    (2018).

    Args:
        matrix: R, of shape [tasks, tasks]; its last row is used.
        tasks: The places of those that count, from 0; by default all.

    Returns:
        A number from 0 to 1.

    Raises:
        PackNetError: If R is not such a matrix, or lacks an entry.

    Example:
        >>> average_accuracy(np.array([[0.9, np.nan], [0.5, 0.7]]))
        0.6
    """
    matrix = _check(matrix)
    last = _measured(matrix[-1], "after the last task", tasks)
    return float(np.mean(last))


def forgetting(matrix: np.ndarray, tasks: np.ndarray | None = None) -> float:
    """Returns how far the old tasks have fallen from their best, on average.

    The "forgetting measure" F_T of Chaudhry et al. (2018, "Riemannian Walk
    for Incremental Learning", section 3.2): for each task but the last, the
    best accuracy after any earlier task minus the accuracy after the last
    one; the mean of that.

    Args:
        matrix: R, of shape [tasks, tasks]. Its lower triangle is used, and
            what was measured above it.
        tasks: The places of those that count, from 0; by default all.

    Returns:
        A number from -1 to 1; above 0 for what was lost. 0 with one task.

    Raises:
        PackNetError: If R is not such a matrix, or lacks an entry.

    Example:
        >>> forgetting(np.array([[0.75, np.nan], [0.5, 0.7]]))
        0.25
    """
    matrix = _check(matrix)
    old = _old(matrix, tasks)
    if not len(old):
        return 0.0
    last = _measured(matrix[-1], "after the last task", old)
    _measured(np.diagonal(matrix), "after it was learned", old)
    best = np.nanmax(matrix[:-1, old], axis=0)
    return float(np.mean(best - last))


def backward_transfer(
    matrix: np.ndarray, tasks: np.ndarray | None = None
) -> float:
    """Returns what later tasks did to the earlier ones, on average.

    The "BWT" of Lopez-Paz and Ranzato (2017): for each task but the last,
    the accuracy after the last task minus the one just after it was learned.

    Args:
        matrix: R, of shape [tasks, tasks]; its diagonal and last row are
            used.
        tasks: The places of those that count, from 0; by default all.

    Returns:
        A number from -1 to 1; below 0 for what was lost. 0 with one task.

    Raises:
        PackNetError: If R is not such a matrix, or lacks an entry.

    Example:
        >>> backward_transfer(np.array([[0.75, np.nan], [0.5, 0.7]]))
        -0.25
    """
    matrix = _check(matrix)
    old = _old(matrix, tasks)
    if not len(old):
        return 0.0
    last = _measured(matrix[-1], "after the last task", old)
    learned = _measured(np.diagonal(matrix), "after it was learned", old)
    return float(np.mean(last - learned))


def forward_transfer(matrix: np.ndarray, untrained: np.ndarray) -> float:
    """Returns what earlier tasks bring to a task before it is learned.

    The "FWT" of Lopez-Paz and Ranzato (2017): for each task but the first,
    the accuracy just before it is learned minus that of an untrained
    network; the mean of that. It needs a network that can answer for a task
    it has not learned, which PackNet, with its head for each task, cannot.

    Args:
        matrix: R, of shape [tasks, tasks]; the entries R[i - 1, i], just
            above the diagonal, are used.
        untrained: Accuracy on each task of a network with random weights, of
            shape [tasks].

    Returns:
        A number from -1 to 1; above 0 for what helps. 0 with one task.

    Raises:
        PackNetError: If the shapes do not fit, or an entry is missing.

    Example:
        >>> R = np.array([[0.9, 0.25], [0.8, 0.7]])
        >>> forward_transfer(R, np.array([0.1, 0.125]))
        0.125
    """
    matrix = _check(matrix)
    start = _one_a_task(untrained, matrix, "untrained")[1:]
    before = _measured(
        np.diagonal(matrix, offset=1), "before it is learned", first=1
    )
    return float(np.mean(before - start)) if len(start) else 0.0


def intransigence(matrix: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Returns how much worse each task was learned than by a reference.

    The "intransigence measure" I_k of Chaudhry et al. (2018, section 3.2):
    the accuracy on task k of a reference network, there one trained on the
    data of tasks 1 to k together, minus that of the network after task k.

    Args:
        matrix: R, of shape [tasks, tasks]; its diagonal is used.
        reference: Accuracy on each task of the reference, of shape [tasks].

    Returns:
        float64 array of shape [tasks], from -1 to 1; above 0 where the
        reference is better.

    Raises:
        PackNetError: If the shapes do not fit, or an entry is missing.

    Example:
        >>> R = np.array([[0.75, np.nan], [0.5, 0.5]])
        >>> intransigence(R, np.array([0.75, 0.625]))
        array([0.   , 0.125])
    """
    matrix = _check(matrix)
    best = _one_a_task(reference, matrix, "reference")
    return best - _measured(np.diagonal(matrix), "after it was learned")


def capacity_by_task(owned: Mapping[int, int], tasks: int) -> np.ndarray:
    """Returns the share of the shared weights that each task owns.

    Args:
        owned: Weights by owner, 0 for the free ones, as `ownership.totals`
            returns them.
        tasks: How many tasks there are.

    Returns:
        float64 array of shape [tasks], from 0 to 1; what is missing to a sum
        of 1 is the capacity that is left.

    Raises:
        PackNetError: If there are no weights.

    Example:
        >>> capacity_by_task({0: 2, 1: 4, 2: 2}, 2)
        array([0.5 , 0.25])
    """
    total = sum(owned.values())
    if total <= 0:
        raise PackNetError(
            "The network has no shared weights; expected the numbers of "
            "weights by owner."
        )
    counts = [owned.get(owner, 0) for owner in range(1, tasks + 1)]
    return np.array(counts, np.float64) / total


def bits_per_weight(size: int, weights: int) -> float:
    """Returns what all tasks together take on disk, per shared weight.

    One network in float32 takes 32; T separate networks take 32 T. PackNet
    takes 32, a mask of at most log2(T + 1) bits, and each task's small
    variables.

    Args:
        size: Bytes on disk of all that the tasks need.
        weights: Number of weights of one network.

    Returns:
        Bits, 0 or more.

    Raises:
        PackNetError: If there are no weights.

    Example:
        >>> bits_per_weight(425, 100)
        34.0
    """
    if weights <= 0:
        raise PackNetError(f"Expected 1 weight or more; received {weights}.")
    return 8 * size / weights


def _check(matrix: Any) -> np.ndarray:
    """Returns a matrix of accuracies as an array; refuses anything else."""
    matrix = np.asarray(matrix, np.float64)
    shape = matrix.shape
    if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
        raise PackNetError(
            f"The accuracy matrix has shape {shape}; expected [tasks, tasks] "
            "with 1 task or more."
        )
    _check_range(matrix, "The accuracy matrix")
    return matrix


def _check_range(values: Any, what: str) -> None:
    wrong = np.extract((values < 0) | (values > 1), values)
    if len(wrong):
        raise PackNetError(
            f"{what} holds {wrong[0]:g}; expected accuracies from 0 to 1."
        )


def _measured(
    values: np.ndarray,
    when: str,
    tasks: np.ndarray | None = None,
    first: int = 0,
) -> np.ndarray:
    """Returns the accuracies of some tasks, if all were measured."""
    places = np.arange(len(values)) if tasks is None else np.asarray(tasks)
    chosen = values[places]
    missing = places[np.isnan(chosen)]
    if len(missing):
        raise PackNetError(
            f"The accuracy on task {missing[0] + first + 1} {when} is "
            "missing; measure it, or leave that task out of the matrix."
        )
    return chosen


def _old(matrix: np.ndarray, tasks: np.ndarray | None) -> np.ndarray:
    """Returns the places of the tasks that count, but for the last one."""
    old = np.arange(len(matrix) - 1)
    return old if tasks is None else old[np.isin(old, tasks)]


def _one_a_task(
    values: np.ndarray, matrix: np.ndarray, name: str
) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.shape != (len(matrix),):
        raise PackNetError(
            f"{name} has shape {values.shape}; expected ({len(matrix)},), one "
            "accuracy for each task."
        )
    _check_range(values, name)
    return _measured(values, f"in {name}")
