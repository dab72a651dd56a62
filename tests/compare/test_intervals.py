import math

import pytest

from packnet_tf.compare.intervals import deviation, paired, t_quantile


@pytest.mark.parametrize(
    "freedom, expected",
    # From the tables of Student's t.
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042)],
)
def test_the_quantile_is_that_of_the_tables(freedom, expected):
    assert t_quantile(freedom) == pytest.approx(expected, abs=5e-4)


def test_a_paired_interval():
    found = paired([0.9, 0.8, 0.7], [0.8, 0.8, 0.5])
    assert found.mean == pytest.approx(0.1)
    # The differences 0.1, 0 and 0.2 have the deviation 0.1.
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert found.low == pytest.approx(0.1 - half, abs=1e-6)
    assert found.high == pytest.approx(0.1 + half, abs=1e-6)


def test_one_pair_has_no_interval_and_none_has_nothing():
    found = paired([0.75], [0.5])
    assert (found.mean, found.low, found.high) == (0.25, None, None)
    assert paired([], []) is None
    assert deviation([0.5]) is None
