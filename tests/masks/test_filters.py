"""Tests of output channels: counted, ranked and freed whole."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packnet_tf.errors import PackNetError
from packnet_tf.masks import filters, pruning
from packnet_tf.options import fractions

FEW = settings(deadline=None, max_examples=40, derandomize=True)
FRACTIONS = st.floats(0.01, 0.99)


def prune(kernels, masks, fraction, axes, scope="layer", of_claimed=False):
    """Frees channels of owner 2."""
    return pruning.prune_masks(
        kernels,
        masks,
        2,
        fraction,
        scope=scope,
        granularity="filter",
        of_claimed=of_claimed,
        channel_axes=axes,
    )


def channel_indices(shape, axes):
    """Returns what selects each channel of a kernel, in order."""
    axes = sorted(axis % len(shape) for axis in axes)
    indices = []
    for places in itertools.product(*(range(shape[axis]) for axis in axes)):
        index = [slice(None)] * len(shape)
        for axis, place in zip(axes, places, strict=True):
            index[axis] = place
        indices.append(tuple(index))
    return indices


def brute_force(kernels, masks, axes, number):
    """Frees by sorting all (mean, kernel, channel), the last of each kept."""
    ranked = []
    for kernel_number, (kernel, mask, its) in enumerate(
        zip(kernels, masks, axes, strict=True)
    ):
        found = []
        for place, index in enumerate(channel_indices(kernel.shape, its)):
            own = mask[index] == 2
            if own.any():
                weights = np.abs(kernel[index][own].astype(np.float64))
                mean = sum(weights.tolist()) / weights.size
                found.append((mean, kernel_number, place, index))
        found.sort(key=lambda one: one[:3])
        ranked += found[:-1]
    ranked.sort(key=lambda one: one[:3])
    pruned = [mask.copy() for mask in masks]
    for _, kernel_number, _, index in ranked[:number]:
        part = pruned[kernel_number][index]
        pruned[kernel_number][index] = np.where(part == 2, 0, part)
    return pruned


def has(mask, axes, owners=(2,)):
    """Returns in how many channels these owners have a weight."""
    return sum(
        bool(np.isin(mask[index], owners).any())
        for index in channel_indices(mask.shape, axes)
    )


@st.composite
def networks(draw):
    """Kernels, masks and the axes of their channels."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    kernels, masks, axes = [], [], []
    for _ in range(draw(st.integers(1, 4))):
        rank = draw(st.integers(1, 4))
        shape = tuple(draw(st.integers(1, 5)) for _ in range(rank))
        kernel = random.standard_normal(shape)
        if draw(st.booleans()):
            kernel = np.round(kernel)
        if draw(st.booleans()):
            kernel = np.asfortranarray(kernel)
        kernels.append(kernel.astype(dtype))
        masks.append(random.integers(0, 4, shape).astype(np.uint8))
        axes.append(
            tuple(
                draw(st.sets(st.integers(-rank, -1), min_size=1, max_size=rank))
            )
        )
    return kernels, masks, axes


@FEW
@given(networks(), FRACTIONS)
def test_layer_scope_is_exact_in_every_kernel(network, fraction):
    kernels, masks, axes = network
    before = [mask.copy() for mask in masks]
    pruned = prune(kernels, masks, fraction, axes)
    for kernel, mask, its, new in zip(
        kernels, masks, axes, pruned, strict=True
    ):
        number = pruning.prune_count(has(mask, its), fraction)
        (expected,) = brute_force([kernel], [mask], [its], number)
        assert new.dtype == np.uint8
        assert np.array_equal(new, expected)
        assert has(new, its) == has(mask, its) - number
    assert all(map(np.array_equal, masks, before))


@FEW
@given(networks(), FRACTIONS)
def test_global_scope_is_exact_over_all_kernels(network, fraction):
    kernels, masks, axes = network
    owned = list(map(has, masks, axes))
    number = round(fraction * sum(owned))
    pruned = prune(kernels, masks, fraction, axes, "global")
    expected = brute_force(kernels, masks, axes, number)
    assert all(map(np.array_equal, pruned, expected))
    left = list(map(has, pruned, axes))
    assert sum(left) == max(sum(owned) - number, sum(map(bool, owned)))
    # Never all channels of a kernel.
    assert all(map(bool, left)) == all(map(bool, owned))


@FEW
@given(networks(), FRACTIONS)
def test_fractions_of_the_claimed_channels(network, fraction):
    kernels, masks, axes = network
    pruned = prune(kernels, masks, fraction, axes, of_claimed=True)
    for mask, its, new in zip(masks, axes, pruned, strict=True):
        claimed = has(mask, its, (0, 2))
        kept = claimed - pruning.prune_count(claimed, fraction)
        assert has(new, its) == min(has(mask, its), kept)


@pytest.mark.parametrize("scope", pruning.SCOPES)
def test_gradual_pruning_ends_at_the_channels_of_pruning_at_once(scope):
    random = np.random.default_rng(0)
    kernels = [random.standard_normal((3, n)) for n in (9, 20, 14)]
    masks = [random.integers(1, 3, k.shape).astype(np.uint8) for k in kernels]
    axes = [(-1,)] * 3
    at_once = prune(kernels, masks, 0.73, axes, scope)
    gradual = masks
    for fraction in fractions.gradual_fractions(0.73, 5):
        gradual = prune(kernels, gradual, fraction, axes, scope, True)
    assert all(map(np.array_equal, gradual, at_once))


def test_the_mean_is_of_what_the_task_owns():
    kernel = np.array([[1.0, 4.0, 100.0], [-3.0, 3.0, 1.0]])
    mask = np.array([[2, 2, 1], [2, 0, 2]], np.uint8)
    channels = filters.channels_of(kernel, mask, 2, (-1,), "kernel")
    assert channels.means.tolist() == [2.0, 4.0, 1.0]
    # An older task's weight in the freed channel stays.
    (pruned,) = prune([kernel], [mask], 1 / 3, [(-1,)])
    assert pruned.tolist() == [[2, 2, 1], [2, 0, 0]]


def test_channels_of_others_are_not_counted():
    mask = np.array([[1, 0, 2, 3], [1, 3, 2, 1]], np.uint8)
    channels = filters.channels_of(np.ones((2, 4)), mask, 2, (-1,), "kernel")
    assert channels.mask.tolist() == [
        filters.OTHERS,
        filters.FREED,
        filters.OWNED,
        filters.OTHERS,
    ]


def test_channels_of_equal_weights_go_by_kernel_and_position():
    # Over several blocks, which end in the middle of a row; sums of thirds
    # are rounded.
    column = np.random.default_rng(0).standard_normal((200_001, 1)) / 3
    kernel = np.repeat(column, 5, axis=1).astype(np.float32)
    mask = np.full(kernel.shape, 2, np.uint8)
    pruned = prune([kernel, kernel], [mask, mask], 0.7, [(-1,)] * 2, "global")
    assert [new[0].tolist() for new in pruned] == [
        [0, 0, 0, 0, 2],
        [0, 0, 0, 2, 2],
    ]
    for new in pruned:
        assert (new == new[0]).all()


def test_the_only_channel_of_a_kernel_stays():
    kernel, mask = np.ones((4, 1)), np.full((4, 1), 2, np.uint8)
    for scope in pruning.SCOPES:
        (pruned,) = prune([kernel], [mask], 0.99, [(-1,)], scope)
        assert np.array_equal(pruned, mask)


@pytest.mark.parametrize("axes", [(-3,), (2,), (-1, 1)])
def test_axes_that_a_kernel_does_not_have_are_refused(axes):
    with pytest.raises(PackNetError, match=r"Kernel 0.*axes.*\(2, 3\)"):
        prune([np.ones((2, 3))], [np.full((2, 3), 2, np.uint8)], 0.5, [axes])
