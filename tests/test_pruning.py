"""Tests of which weights go."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packnet_tf import pruning
from packnet_tf.errors import CapacityError, FlagError, PackNetError

FEW = settings(deadline=None, max_examples=40, derandomize=True)
FRACTIONS = st.floats(0.01, 0.99)


def brute_force(kernels, masks, owner, number):
    """Frees by sorting all (magnitude, kernel, position), largest kept."""
    ranked = sorted(
        (abs(float(kernel.flat[place])), index, place)
        for index, (kernel, mask) in enumerate(zip(kernels, masks, strict=True))
        for place in np.flatnonzero(mask == owner)
    )
    last = {index: (index, place) for _, index, place in ranked}
    able = [r for r in ranked if r[1:] != last[r[1]]]
    pruned = [mask.copy() for mask in masks]
    for _, index, place in able[: max(number, 0)]:
        pruned[index].flat[place] = 0
    return pruned


def same(received, expected):
    return all(
        r.dtype == np.uint8 and np.array_equal(r, e)
        for r, e in zip(received, expected, strict=True)
    )


@st.composite
def networks(draw):
    """Kernels, masks and claimed counts of owner 2."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    kernels, masks, claimed = [], [], []
    for _ in range(draw(st.integers(1, 4))):
        shape = (draw(st.integers(1, 6)), draw(st.integers(2, 6)))
        kernel = random.standard_normal(shape)
        if draw(st.booleans()):
            kernel = np.round(kernel)
        mask = random.integers(0, 4, shape).astype(np.uint8)
        mask[0, :2] = 2
        kernels.append(kernel.astype(dtype))
        masks.append(mask)
        claimed.append(int((mask == 2).sum() + draw(st.integers(0, 9))))
    return kernels, masks, claimed


def test_smallest_takes_ties_by_position():
    values = np.array([2.0, -1.0, 0.0, 1.0, -0.0, 1.0, -3.0], np.float32)
    order = [2, 4, 1, 3, 5, 0, 6]
    for number in range(8):
        chosen = pruning.smallest(values, number)
        assert chosen.dtype == np.bool_
        assert np.flatnonzero(chosen).tolist() == sorted(order[:number])


@FEW
@given(
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=60),
    st.data(),
)
def test_smallest_is_what_a_stable_sort_says(values, data):
    values = np.array(values, np.float32)
    number = data.draw(st.integers(0, values.size))
    chosen = pruning.smallest(values, number)
    order = np.argsort(np.abs(values), kind="stable")[:number]
    assert np.flatnonzero(chosen).tolist() == sorted(order.tolist())


def test_smallest_of_many_equal_values_is_exact():
    values = np.random.default_rng(0).integers(-2, 3, 600_000).astype("f4")
    chosen = pruning.smallest(values, 400_001)
    order = np.argsort(np.abs(values), kind="stable")[:400_001]
    assert np.array_equal(np.flatnonzero(chosen), np.sort(order))


def test_nan_cannot_be_ranked():
    values = np.array([1.0, np.nan, 2.0], np.float32)
    with pytest.raises(PackNetError, match="NaN.*learning rate"):
        pruning.smallest(values, 1)
    mask = np.array([1, 1, 1], np.uint8)
    for scope in pruning.SCOPES:
        with pytest.raises(PackNetError, match="NaN"):
            pruning.prune_masks([values], [mask], 1, 0.5, scope)
    # Another owner's NaN is none of this task's business.
    masks = pruning.prune_masks(
        [np.array([1.0, np.nan, 2.0, 3.0])],
        [np.array([1, 2, 1, 1], np.uint8)],
        1,
        0.5,
    )
    assert same(masks, [[0, 2, 0, 1]])


@pytest.mark.parametrize(
    "owned, fraction, number",
    [
        (0, 0.5, 0),
        (1, 0.75, 0),
        (2, 0.99, 1),
        (5, 0.5, 2),  # 2.5: halves go to the even number
        (7, 0.5, 4),  # 3.5
        (10, 0.75, 8),
        (10, 0.01, 0),
        (138_357_544, 0.75, 103_768_158),
    ],
)
def test_prune_count(owned, fraction, number):
    assert pruning.prune_count(owned, fraction) == number


@FEW
@given(networks(), FRACTIONS)
def test_layer_scope_is_exact_in_every_kernel(network, fraction):
    kernels, masks, _ = network
    before = [mask.copy() for mask in masks]
    expected = [
        brute_force([k], [m], 2, pruning.prune_count((m == 2).sum(), fraction))
        for k, m in zip(kernels, masks, strict=True)
    ]
    pruned = pruning.prune_masks(kernels, masks, 2, fraction)
    assert same(pruned, [one for (one,) in expected])
    assert same(masks, before)


@FEW
@given(networks(), FRACTIONS)
def test_global_scope_is_exact_over_all_kernels(network, fraction):
    kernels, masks, _ = network
    total = sum(int((mask == 2).sum()) for mask in masks)
    number = round(fraction * total)
    pruned = pruning.prune_masks(kernels, masks, 2, fraction, "global")
    assert same(pruned, brute_force(kernels, masks, 2, number))
    left = sum(int((mask == 2).sum()) for mask in pruned)
    assert left == max(total - number, len(kernels))
    assert all((mask == 2).any() for mask in pruned)


@FEW
@given(networks(), FRACTIONS, st.sampled_from(pruning.SCOPES))
def test_fractions_of_the_claimed_weights(network, fraction, scope):
    kernels, masks, claimed = network
    pruned = pruning.prune_masks(
        kernels, masks, 2, fraction, scope, claimed=claimed
    )
    owned = [int((mask == 2).sum()) for mask in masks]
    left = [int((mask == 2).sum()) for mask in pruned]
    if scope == "layer":
        for first, now, then in zip(claimed, owned, left, strict=True):
            kept = first - pruning.prune_count(first, fraction)
            assert then == min(now, kept)
    else:
        kept = sum(claimed) - round(fraction * sum(claimed))
        assert sum(left) == min(sum(owned), max(kept, len(kernels)))


@pytest.mark.parametrize("scope", pruning.SCOPES)
def test_gradual_pruning_ends_at_the_counts_of_pruning_at_once(scope):
    random = np.random.default_rng(0)
    kernels = [random.standard_normal((n, 7)) for n in (3, 50, 11)]
    masks = [random.integers(0, 3, k.shape).astype(np.uint8) for k in kernels]
    at_once = pruning.prune_masks(kernels, masks, 2, 0.73, scope)
    claimed = [int((mask == 2).sum()) for mask in masks]
    gradual = masks
    for fraction in pruning.gradual_fractions(0.73, 5):
        gradual = pruning.prune_masks(
            kernels, gradual, 2, fraction, scope, claimed=claimed
        )
    # The kernels did not change meanwhile: the very same weights go.
    assert same(gradual, at_once)


def test_global_scope_keeps_the_largest_weight_of_a_small_kernel():
    small, large = np.array([0.1, 0.3, -0.2]), np.array([5.0, 6.0, 4.0])
    masks = [np.ones(3, np.uint8)] * 2
    pruned = pruning.prune_masks([small, large], masks, 1, 2 / 3, "global")
    assert same(pruned, [[0, 1, 0], [0, 1, 0]])


def test_global_scope_takes_ties_by_kernel_and_position():
    kernels = [np.ones(3), -np.ones(3)]
    masks = [np.ones(3, np.uint8)] * 2
    pruned = pruning.prune_masks(kernels, masks, 1, 0.5, "global")
    assert same(pruned, [[0, 0, 1], [0, 1, 1]])


@pytest.mark.parametrize("scope", pruning.SCOPES)
def test_the_only_weights_of_their_kernels_stay(scope):
    kernels, masks = [np.ones(1)] * 3, [np.ones(1, np.uint8)] * 3
    assert same(pruning.prune_masks(kernels, masks, 1, 0.9, scope), masks)


@pytest.mark.parametrize("scope", pruning.SCOPES)
def test_a_kernel_without_weights_of_the_task_stays(scope):
    kernels = [np.arange(4.0), np.arange(4.0)]
    masks = [np.array([0, 1, 3, 3], np.uint8), np.full(4, 2, np.uint8)]
    pruned = pruning.prune_masks(kernels, masks, 2, 0.5, scope)
    assert same(pruned, [[0, 1, 3, 3], [0, 0, 2, 2]])


def test_kernels_in_another_memory_order_go_by_position():
    kernel = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], order="F")
    (pruned,) = pruning.prune_masks(
        [kernel], [np.ones((2, 3), np.uint8)], 1, 0.5
    )
    assert same([pruned], [[[0, 0, 0], [1, 1, 1]]])


def test_unknown_scope():
    with pytest.raises(PackNetError, match="'filter'.*layer, global"):
        pruning.prune_masks([], [], 1, 0.5, "filter")


@pytest.mark.parametrize(
    "fraction", [0, 1, -0.5, 1.5, float("nan"), float("inf"), True, "0.5", None]
)
def test_no_fraction(fraction):
    with pytest.raises(PackNetError, match="the_flag.*between 0 and 1"):
        pruning.validate_fraction(fraction, "the_flag")


def test_a_fraction():
    received = pruning.validate_fraction(np.float32(0.5))
    assert received == 0.5 and type(received) is float


def test_equal_share_leaves_every_task_as_much():
    free, kept = 1.0, []
    for nth in range(1, 6):
        share = pruning.equal_share(5, nth)
        kept.append(free * (1 - share))
        free *= share
    assert kept == pytest.approx([0.2] * 5)
    assert free == 0.0
    with pytest.raises(CapacityError, match="task 6 of 5"):
        pruning.equal_share(5, 6)
    with pytest.raises(PackNetError, match="1 or more"):
        pruning.equal_share(0, 1)


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
    assert pruning.parse_fraction(value, nth, planned_tasks=3) == expected


@pytest.mark.parametrize(
    "value", ["", "half", "1.5", "0.5,", "0.5,0", 0, 1.0, [0.5, None], "nan"]
)
def test_parse_fraction_refuses(value):
    with pytest.raises(FlagError, match="prune_fraction=.*between 0 and 1"):
        pruning.parse_fraction(value, 1)


def test_parse_fraction_of_a_task_that_the_list_has_none_for():
    with pytest.raises(FlagError, match="2 fractions, but .* task 3"):
        pruning.parse_fraction("0.5,0.75", 3)
    with pytest.raises(FlagError, match="planned_tasks"):
        pruning.parse_fraction("equal_share", 1)
    with pytest.raises(CapacityError):
        pruning.parse_fraction("equal_share", 4, planned_tasks=3)


@FEW
@given(FRACTIONS, st.integers(1, 30))
def test_gradual_fractions_rise_to_the_final_one(final, steps):
    fractions = pruning.gradual_fractions(final, steps)
    assert len(fractions) == steps
    assert fractions[-1] == final
    assert fractions == sorted(fractions)
    assert all(0 < fraction < 1 for fraction in fractions)


def test_gradual_fractions_are_cubic():
    assert pruning.gradual_fractions(0.8, 2) == pytest.approx([0.7, 0.8])
    with pytest.raises(PackNetError, match="1 step"):
        pruning.gradual_fractions(0.8, 0)
    with pytest.raises(PackNetError, match="between 0 and 1"):
        pruning.gradual_fractions(0.0, 3)
