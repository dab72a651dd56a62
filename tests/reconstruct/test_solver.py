"""The solver, against an exact least-squares solution of every column."""

import numpy as np
import pytest

from packnet_tf.reconstruct import solver
from packnet_tf.reconstruct.solver import Gram, Rows

ROWS, INPUTS, OUTPUTS = 300, 24, 10


def problem(dtype="float64", older=False, rows=ROWS):
    """Returns rows before and after, W0, the start, and the support."""
    random = np.random.default_rng(0)
    mixing = random.normal(size=(INPUTS, INPUTS))
    unpruned = np.maximum(random.normal(size=(rows, INPUTS)) @ mixing, 0)
    pruned = unpruned + 0.1 * random.normal(size=unpruned.shape)
    w0 = random.normal(size=(INPUTS, OUTPUTS))
    kept = random.random(w0.shape) < 0.5
    own = kept & (random.random(w0.shape) < 0.6) if older else kept
    start = np.where(kept, w0, 0)
    if older:  # Weights of older tasks are not what they were in W0 either.
        start = np.where(kept & ~own, start + 0.3, start)
    arrays = (pruned, unpruned, w0, start)
    return (*(a.astype(dtype) for a in arrays), own)


def exact(pruned, unpruned, w0, start, own):
    """Returns the minimum of the objective, a column at a time."""
    fitted = start.astype("float64").copy()
    h = pruned.T @ pruned / len(pruned)
    ridge = solver.RIDGE_SHARE * np.diag(h).mean()
    for column in range(w0.shape[1]):
        s = own[:, column]
        rest = pruned[:, ~s] @ start[~s, column]
        wanted = (unpruned @ w0[:, column] - rest) / np.sqrt(len(pruned))
        left = np.vstack(
            [
                pruned[:, s] / np.sqrt(len(pruned)),
                np.sqrt(ridge) * np.eye(s.sum()),
            ]
        )
        right = np.concatenate([wanted, np.sqrt(ridge) * w0[s, column]])
        fitted[s, column] = np.linalg.lstsq(left, right, rcond=None)[0]
    return fitted


def gram(pruned, unpruned):
    return Gram(
        pruned.T @ pruned / len(pruned), pruned.T @ unpruned / len(pruned)
    )


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("moments", [gram, Rows])
def test_it_finds_the_least_squares_solution_of_every_column(moments, older):
    given = problem(older=older)
    fitted = solver.fit(moments(*given[:2]), *given[2:])
    np.testing.assert_allclose(fitted, exact(*given), atol=1e-3)


@pytest.mark.parametrize("moments", [gram, Rows])
def test_float32_is_as_good(moments):
    given = problem("float32")
    fitted = solver.fit(moments(*given[:2]), *given[2:])
    assert fitted.dtype == np.float32
    np.testing.assert_allclose(fitted, exact(*given), atol=2e-3)


def test_fewer_rows_than_inputs_leave_the_rest_to_the_ridge():
    given = problem(rows=9)
    fitted = solver.fit(Rows(*given[:2]), *given[2:])
    np.testing.assert_allclose(fitted, exact(*given), atol=1e-3)


def test_what_is_outside_the_support_keeps_its_bytes():
    pruned, unpruned, w0, start, own = problem("float32", older=True)
    fitted = solver.fit(gram(pruned, unpruned), w0, start, own)
    assert fitted[~own].tobytes() == start[~own].tobytes()
    assert not np.array_equal(fitted[own], start[own])


def test_the_same_input_gives_the_same_bytes():
    given = problem("float32")
    results = {
        solver.fit(gram(*given[:2]), *given[2:]).tobytes() for _ in range(3)
    }
    assert len(results) == 1


def test_columns_do_not_depend_on_the_block_they_are_in(monkeypatch):
    given = problem()
    whole = solver.fit(gram(*given[:2]), *given[2:])
    monkeypatch.setattr(solver, "_BLOCK", 3 * INPUTS)
    parts = solver.fit(gram(*given[:2]), *given[2:])
    np.testing.assert_allclose(parts, whole, atol=1e-3)


def test_inputs_that_are_always_0_change_nothing():
    _, _, w0, start, own = problem("float32")
    nothing = np.zeros((ROWS, INPUTS), "float32")
    fitted = solver.fit(gram(nothing, nothing), w0, start, own)
    assert fitted.tobytes() == start.tobytes()


def test_groups_are_fitted_each_for_itself():
    given = problem()
    two = [np.stack([a, a[::-1]]) for a in given]
    h = two[0].swapaxes(1, 2) @ two[0] / ROWS
    c = two[0].swapaxes(1, 2) @ two[1] / ROWS
    fitted = solver.fit(Gram(h, c), *two[2:])
    for group in range(2):
        alone = exact(*(a[group] for a in two))
        np.testing.assert_allclose(fitted[group], alone, atol=1e-3)


def test_inputs_that_are_nearly_dead_overflow_nothing():
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS, INPUTS)).astype("float32") * 1e-21
    w0 = random.normal(size=(INPUTS, OUTPUTS)).astype("float32")
    own = random.random(w0.shape) < 0.5
    gram = Gram(x.T @ x / ROWS, x.T @ x / ROWS)
    with np.errstate(over="raise", invalid="raise"):
        fitted = solver.fit(gram, w0, w0 * own, own)
    assert np.isfinite(fitted).all()
    # They say nothing about the weights.
    assert np.array_equal(fitted, w0 * own)
