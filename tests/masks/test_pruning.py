"""Tests of which weights go."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packnet_tf.errors import PackNetError
from packnet_tf.masks import pruning
from packnet_tf.options import fractions

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
    """Kernels and masks; owner 2 has weights in each."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    kernels, masks = [], []
    for _ in range(draw(st.integers(1, 4))):
        shape = (draw(st.integers(1, 6)), draw(st.integers(2, 6)))
        kernel = random.standard_normal(shape)
        if draw(st.booleans()):
            kernel = np.round(kernel)
        mask = random.integers(0, 4, shape).astype(np.uint8)
        mask[0, :2] = 2
        kernels.append(kernel.astype(dtype))
        masks.append(mask)
    return kernels, masks


def test_nan_cannot_be_ranked():
    values = np.array([1.0, np.nan, 2.0], np.float32)
    mask = np.array([1, 1, 1], np.uint8)
    for scope in pruning.SCOPES:
        for granularity in pruning.GRANULARITIES:
            with pytest.raises(
                PackNetError, match="conv/kernel.*NaN.*learning rate"
            ):
                pruning.prune_masks(
                    [values],
                    [mask],
                    1,
                    0.5,
                    scope=scope,
                    granularity=granularity,
                    names=["conv/kernel"],
                )
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
    kernels, masks = network
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
    kernels, masks = network
    total = sum(int((mask == 2).sum()) for mask in masks)
    number = round(fraction * total)
    pruned = pruning.prune_masks(kernels, masks, 2, fraction, scope="global")
    assert same(pruned, brute_force(kernels, masks, 2, number))
    left = sum(int((mask == 2).sum()) for mask in pruned)
    assert left == max(total - number, len(kernels))
    assert all((mask == 2).any() for mask in pruned)


@FEW
@given(networks(), FRACTIONS, st.sampled_from(pruning.SCOPES))
def test_fractions_of_the_claimed_weights(network, fraction, scope):
    kernels, masks = network
    claimed = [int(np.isin(mask, (0, 2)).sum()) for mask in masks]
    pruned = pruning.prune_masks(
        kernels, masks, 2, fraction, scope=scope, of_claimed=True
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
    masks = [random.integers(1, 3, k.shape).astype(np.uint8) for k in kernels]
    at_once = pruning.prune_masks(kernels, masks, 2, 0.73, scope=scope)
    gradual = masks
    for fraction in fractions.gradual_fractions(0.73, 5):
        gradual = pruning.prune_masks(
            kernels, gradual, 2, fraction, scope=scope, of_claimed=True
        )
    # The kernels did not change meanwhile: the very same weights go.
    assert same(gradual, at_once)


def test_global_scope_keeps_the_largest_weight_of_a_small_kernel():
    small, large = np.array([0.1, 0.3, -0.2]), np.array([5.0, 6.0, 4.0])
    masks = [np.ones(3, np.uint8)] * 2
    pruned = pruning.prune_masks(
        [small, large], masks, 1, 2 / 3, scope="global"
    )
    assert same(pruned, [[0, 1, 0], [0, 1, 0]])


def test_global_scope_takes_ties_by_kernel_and_position():
    kernels = [np.ones(3), -np.ones(3)]
    masks = [np.ones(3, np.uint8)] * 2
    pruned = pruning.prune_masks(kernels, masks, 1, 0.5, scope="global")
    assert same(pruned, [[0, 0, 1], [0, 1, 1]])


@pytest.mark.parametrize("scope", pruning.SCOPES)
def test_the_only_weights_of_their_kernels_stay(scope):
    kernels, masks = [np.ones(1)] * 3, [np.ones(1, np.uint8)] * 3
    assert same(pruning.prune_masks(kernels, masks, 1, 0.9, scope=scope), masks)


@pytest.mark.parametrize("scope", pruning.SCOPES)
def test_a_kernel_without_weights_of_the_task_stays(scope):
    kernels = [np.arange(4.0), np.arange(4.0)]
    masks = [np.array([0, 1, 3, 3], np.uint8), np.full(4, 2, np.uint8)]
    pruned = pruning.prune_masks(kernels, masks, 2, 0.5, scope=scope)
    assert same(pruned, [[0, 1, 3, 3], [0, 0, 2, 2]])


def test_kernels_in_another_memory_order_go_by_position():
    kernel = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]], order="F")
    (pruned,) = pruning.prune_masks(
        [kernel], [np.ones((2, 3), np.uint8)], 1, 0.5
    )
    assert same([pruned], [[[0, 0, 0], [1, 1, 1]]])


def test_unknown_scope():
    with pytest.raises(PackNetError, match="'filter'.*layer, global"):
        pruning.prune_masks([], [], 1, 0.5, scope="filter")


def test_unknown_granularity():
    with pytest.raises(PackNetError, match="'channel'.*weight, filter"):
        pruning.prune_masks([], [], 1, 0.5, granularity="channel")


def test_arrays_that_do_not_fit_are_named():
    kernel, mask = np.ones((2, 3), np.float32), np.ones((2, 3), np.uint8)
    with pytest.raises(PackNetError, match="2 kernels; received 1 masks"):
        pruning.prune_masks([kernel] * 2, [mask], 1, 0.5)
    for other in (mask.T, mask.astype(np.int32)):
        with pytest.raises(PackNetError, match=r"a: its mask is uint8.*2, 3"):
            pruning.prune_masks([kernel], [other], 1, 0.5, names=["a"])
    with pytest.raises(PackNetError, match="a holds int64"):
        pruning.prune_masks(
            [kernel.astype(np.int64)], [mask], 1, 0.5, names=["a"]
        )


class Stored:
    """A kernel that is copied whenever it is read, as a variable is."""

    def __init__(self, values):
        self._values = values
        self.shape, self.dtype = values.shape, values.dtype

    def __array__(self, dtype=None, copy=None):
        return self._values.copy()


def peak_of(widths, scope, granularity):
    """Returns the bytes that pruning takes at its peak, and the weights."""
    random = np.random.default_rng(0)
    kernels = [
        Stored(random.standard_normal((1000, width), np.float32))
        for width in widths
    ]
    # All of the base task's weights, which takes most.
    masks = [np.ones(kernel.shape, np.uint8) for kernel in kernels]
    tracemalloc.start()
    try:
        pruning.prune_masks(
            kernels, masks, 1, 0.75, scope=scope, granularity=granularity
        )
        return tracemalloc.get_traced_memory()[1], 1000 * sum(widths)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("granularity", pruning.GRANULARITIES)
@pytest.mark.parametrize("scope", pruning.SCOPES)
def test_the_peak_memory_is_one_byte_a_weight(scope, granularity):
    # The new masks, one kernel as it is read, and blocks of a fixed size.
    small, few = peak_of([500] * 2, scope, granularity)
    large, many = peak_of([500] * 12, scope, granularity)
    assert (large - small) / (many - few) < 1.05
    assert small < few + 4 * 500_000 + 20e6


def test_masks_are_new_arrays():
    kernel, mask = np.arange(4.0), np.ones(4, np.uint8)
    for granularity in pruning.GRANULARITIES:
        (pruned,) = pruning.prune_masks(
            [kernel], [mask], 1, 0.5, granularity=granularity
        )
        assert mask.tolist() == [1, 1, 1, 1]
        assert pruned.tolist() == [0, 0, 1, 1]
