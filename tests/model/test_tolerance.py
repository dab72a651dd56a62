"""Pruning as far as a measure allows: what is chosen, what is put back."""

import math

import numpy as np
import pytest
from support.phase_nets import IMAGES, net_with, train

from packnet_tf.errors import PackNetError, PhaseError

pytestmark = pytest.mark.filterwarnings("ignore:images=")
FRACTIONS = (0.2, 0.4, 0.6, 0.8)


def in_training(*packed):
    net = net_with(*packed)
    net.add_task("new", 3)
    train(net)
    return net


def everything(net):
    """All bytes of a network, and what it says of its tasks."""
    values = [v.numpy().tobytes() for v in net.variables]
    values += [value.tobytes() for value in net.pretrained_kernels or ()]
    values += [value.tobytes() for value in net.pretrained_private or ()]
    return values, [task.to_dict() for task in net.tasks], net.phase


def owned(net):
    owner = net.newest.owner
    return sum(
        int((np.asarray(k.mask) == owner).sum()) for k in net.masked_kernels()
    )


def freed(net):
    """A measure that falls by about the fraction that is pruned."""
    before = owned(net)
    return lambda: owned(net) / before


# The first is the last one tried; the second has to be pruned again.
@pytest.mark.parametrize(
    ("tolerance", "fraction", "older"), [(0.62, 0.6, ()), (0.42, 0.4, ("a",))]
)
def test_the_largest_fraction_within_the_tolerance_is_pruned(
    tolerance, fraction, older
):
    net, tried = in_training(*older), []
    found = net.prune_within(
        tolerance,
        freed(net),
        images=IMAGES,
        fractions=np.array(FRACTIONS),
        report=lambda *step: tried.append(step),
    )
    assert found == fraction
    assert len(tried) <= 3
    assert all(math.isclose(1 - v, f, abs_tol=0.05) for f, v in tried)
    # As if nothing else had been tried.
    other = in_training(*older)
    other.prune(fraction, images=IMAGES)
    assert everything(net) == everything(other)
    train(net), train(other)
    assert everything(net) == everything(other)
    net.pack()
    net.verify_digests()


def test_where_nothing_is_within_the_least_is_pruned_and_said():
    net = in_training()
    with pytest.warns(UserWarning, match="Not even a fraction of 0.2 stays"):
        found = net.prune_within(
            0.1, freed(net), images=IMAGES, fractions=FRACTIONS
        )
    assert found == 0.2
    assert net.phase == "retrain"


@pytest.mark.parametrize(
    ("older", "error"), [((), KeyboardInterrupt), (("a",), ValueError)]
)
def test_what_ends_the_search_leaves_the_network_as_it_was(older, error):
    net = in_training(*older)
    before, values = everything(net), iter([0.5, 0.5])

    def measure():
        for value in values:
            return value
        raise error

    with pytest.raises(error):
        net.prune_within(0.1, measure, images=IMAGES, fractions=FRACTIONS)
    assert everything(net) == before
    train(net)
    net.prune(0.5)
    net.pack()


@pytest.mark.parametrize("value", [math.nan, None])
def test_a_measure_that_is_no_number_is_refused(value):
    net = in_training()
    before = everything(net)
    with pytest.raises(PackNetError, match=r"measure\(\) gave") as caught:
        net.prune_within(0.1, lambda: value, images=IMAGES)
    assert "\n" not in str(caught.value)
    assert everything(net) == before


@pytest.mark.parametrize(
    ("tolerance", "fractions"), [(-0.1, (0.5,)), ("0.1", (0.5,)), (0.1, ())]
)
def test_unsuitable_arguments_are_refused(tolerance, fractions):
    net = in_training()
    with pytest.raises(PackNetError, match="expected a tolerance"):
        net.prune_within(
            tolerance, lambda: 1.0, images=IMAGES, fractions=fractions
        )
    assert net.phase == "train"


def test_a_packed_task_is_not_pruned():
    with pytest.raises(PhaseError, match=r"prune_within\(\)"):
        net_with("a").prune_within(0.1, lambda: 1.0, images=IMAGES)
