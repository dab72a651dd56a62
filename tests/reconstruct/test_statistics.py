"""Rows of a layer's inputs: summed up as a matrix, or kept."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from packnet_tf.reconstruct.rows import form_of
from packnet_tf.reconstruct.solver import Gram, Rows
from packnet_tf.reconstruct.statistics import Statistics


@pytest.mark.parametrize(("expected", "kind"), [(3, Rows), (4, Gram)])
def test_fewer_rows_than_half_of_the_inputs_take_the_place_of_a_matrix(
    expected, kind
):
    rows = np.random.default_rng(0).normal(size=(2, 3, 8)).astype("float32")
    dense = keras.layers.Dense(2)
    dense.build((None, 8))
    kept = Statistics(form_of(dense, "kernel", (8, 2)), expected)
    kept.add(tf.constant(rows[:1]), tf.constant(rows[1:]))
    moments = kept.moments()
    assert isinstance(moments, kind) and kept.finite
    h = rows[0].T @ rows[0] / 3
    c = rows[0].T @ rows[1] / 3
    found = moments.product(np.eye(8)), moments.cross(np.eye(8))
    assert found[0].dtype == np.float64
    np.testing.assert_allclose(found[0][0], h, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1][0], c, rtol=1e-5, atol=1e-6)
