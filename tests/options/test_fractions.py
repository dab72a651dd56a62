"""Tests of fractions, schedules and forecasts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packnet_tf.errors import CapacityError, FlagError, PackNetError
from packnet_tf.options import fractions

FEW = settings(deadline=None, max_examples=40, derandomize=True)
FRACTIONS = st.floats(0.01, 0.99)


@pytest.mark.parametrize(
    "fraction", [0, 1, -0.5, 1.5, float("nan"), float("inf"), True, "0.5", None]
)
def test_no_fraction(fraction):
    with pytest.raises(PackNetError, match="the_flag.*between 0 and 1"):
        fractions.validate_fraction(fraction, "the_flag")


def test_a_fraction():
    received = fractions.validate_fraction(np.float32(0.5))
    assert received == 0.5 and type(received) is float


def test_equal_share_leaves_every_task_as_much():
    free, kept = 1.0, []
    for nth in range(1, 6):
        share = fractions.equal_share(5, nth)
        kept.append(free * (1 - share))
        free *= share
    assert kept == pytest.approx([0.2] * 5)
    assert free == 0.0
    with pytest.raises(CapacityError, match="task 6 of 5"):
        fractions.equal_share(5, 6)
    with pytest.raises(PackNetError, match="1 or more"):
        fractions.equal_share(0, 1)


@pytest.mark.parametrize(
    "value, nth, expected",
    [
        (0.75, 3, 0.75),
        ("0.75", 3, 0.75),
        (" 0.5, 0.75 ", 2, 0.75),
        ([0.5, "0.75"], 1, 0.5),
        ((0.5, 0.75), 2, 0.75),
        ("equal_share", 1, 2 / 3),
        ("equal_share", 3, 0.0),
    ],
)
def test_parse_fraction(value, nth, expected):
    assert fractions.parse_fraction(value, nth, planned_tasks=3) == expected


@pytest.mark.parametrize(
    "value", ["", "half", "1.5", "0.5,", "0.5,0", 0, 1.0, [0.5, None], "nan"]
)
def test_parse_fraction_refuses(value):
    with pytest.raises(FlagError, match="prune_fraction=.*between 0 and 1"):
        fractions.parse_fraction(value, 1)


def test_parse_fraction_of_a_task_that_the_list_has_none_for():
    with pytest.raises(FlagError, match="2 fractions, but .* task 3"):
        fractions.parse_fraction("0.5,0.75", 3)
    with pytest.raises(FlagError, match="planned_tasks"):
        fractions.parse_fraction("equal_share", 1)
    with pytest.raises(CapacityError):
        fractions.parse_fraction("equal_share", 4, planned_tasks=3)


@FEW
@given(FRACTIONS, st.integers(1, 30))
def test_gradual_fractions_rise_to_the_final_one(final, steps):
    rising = fractions.gradual_fractions(final, steps)
    assert len(rising) == steps
    assert rising[-1] == final
    assert rising == sorted(rising)
    assert all(0 < fraction < 1 for fraction in rising)


def test_gradual_fractions_are_cubic():
    assert fractions.gradual_fractions(0.8, 2) == pytest.approx([0.7, 0.8])
    with pytest.raises(PackNetError, match="1 step"):
        fractions.gradual_fractions(0.8, 0)
    with pytest.raises(PackNetError, match="between 0 and 1"):
        fractions.gradual_fractions(0.0, 3)


def test_forecast():
    assert fractions.forecast(1.0, 0.5) == (
        "Capacity: 100.0% of the weights are free; this task keeps 50.0% and "
        "leaves 50.0%: room for 8 more task(s) that each keep 0.1% or more at "
        "this fraction."
    )
    assert "keeps 25.0% and leaves 0.0%: room for 0" in fractions.forecast(
        0.25, 0.0
    )


def test_forecast_of_whole_channels_is_an_estimate():
    line = fractions.forecast(0.8, 0.75, "filter")
    assert "keeps about 20.0% in whole output channels" in line
    assert "leaves about 60.0%" in line
