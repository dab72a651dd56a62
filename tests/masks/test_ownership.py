"""Tests of masks as arrays."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from packnet_tf.errors import PackNetError, TaskError
from packnet_tf.masks import ownership

FEW = settings(deadline=None, max_examples=40, derandomize=True)
SHAPES = npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=7)


def masks(highest=255):
    return npst.arrays(np.uint8, SHAPES, elements=st.integers(0, highest))


def random_mask(shape, highest, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, highest + 1, shape).astype(np.uint8)


def test_claim_takes_free_weights_only():
    mask = np.array([[0, 1], [2, 0]], np.uint8)
    claimed = ownership.claim(mask, 255)
    assert claimed.dtype == np.uint8
    assert np.array_equal(claimed, [[255, 1], [2, 255]])
    assert np.array_equal(mask, [[0, 1], [2, 0]])


def test_release_frees_one_owner_only():
    mask = np.array([[3, 1], [2, 3]], np.uint8)
    released = ownership.release(mask, 3)
    assert released.dtype == np.uint8
    assert np.array_equal(released, [[0, 1], [2, 0]])
    assert np.array_equal(mask, [[3, 1], [2, 3]])


def test_totals_of_several_masks():
    masks = [np.array([2, 1], np.uint8), np.array([[1]], np.uint8)]
    assert ownership.totals(masks) == {0: 0, 1: 2, 2: 1}
    assert ownership.totals([]) == {0: 0}


@FEW
@given(masks(highest=5), st.integers(1, 255))
def test_claim_and_release_are_what_where_says(mask, owner):
    claimed = np.where(mask == 0, np.uint8(owner), mask)
    assert ownership.claim(mask, owner).tobytes() == claimed.tobytes()
    released = np.where(mask == owner, np.uint8(0), mask)
    assert ownership.release(mask, owner).tobytes() == released.tobytes()


@pytest.mark.parametrize(
    "dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
)
@pytest.mark.parametrize("task", [1, 2, 254, 255])
def test_view_keeps_bytes_of_earlier_owners_and_zeroes_others(dtype, task):
    mask = np.array([[0, 1, 2], [254, 255, 0]], np.uint8)
    kernel = np.array(
        [[np.nan, -0.0, np.inf], [-np.inf, 1e-7, -3.0]], np.float64
    ).astype(dtype)
    seen = ownership.view(kernel, mask, task)
    expected = kernel.copy()
    expected[(mask == 0) | (mask > task)] = 0
    assert seen.dtype == kernel.dtype
    assert seen.tobytes() == expected.tobytes()
    seen = ownership.view(kernel, mask, task, since=max(2, task))
    expected[(mask > 1) & (mask < task)] = 0
    assert seen.tobytes() == expected.tobytes()


@FEW
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, -0.0, 1.0]), st.integers(0, 4)),
        max_size=4,
    ),
    st.integers(1, 4),
    st.integers(2, 4),
)
def test_a_kernel_is_whole_where_its_view_is_the_same(pairs, task, since):
    kernel = np.array([value for value, _ in pairs], np.float32)
    mask = np.array([owner for _, owner in pairs], np.uint8)
    view = ownership.view(kernel, mask, task, since)
    same = view.tobytes() == kernel.tobytes()
    assert ownership.is_whole(kernel, mask, task, since) == same


def test_view_of_a_kernel_in_another_memory_order_and_of_many_blocks():
    shape = (3, ownership._BLOCK // 2)
    mask = random_mask(shape, 4)
    kernel = np.random.default_rng(0).standard_normal(shape[::-1]).T
    seen = ownership.view(kernel, mask, 2)
    expected = np.where((mask > 0) & (mask <= 2), kernel, 0.0)
    assert np.array_equal(seen, expected)
    assert not np.shares_memory(seen, kernel)


def test_count_has_free_and_every_owner_present():
    mask = np.array([[2, 255], [2, 7]], np.uint8)
    assert ownership.count(mask) == {0: 0, 2: 2, 7: 1, 255: 1}
    assert ownership.count(np.zeros((3, 2), np.uint8)) == {0: 6}
    assert ownership.count(np.zeros((0, 2), np.uint8)) == {0: 0}
    for highest in (3, 15, 16, 40):
        large = random_mask(2 * ownership._BLOCK + 3, highest)
        assert ownership.count(large) == {
            owner: int((large == owner).sum()) for owner in range(highest + 1)
        }


def test_digest_covers_what_the_owner_has_and_nothing_else():
    size = ownership._BLOCK + 13
    kernel = np.random.default_rng(0).standard_normal(size).astype("f4")
    mask = random_mask(size, 3)
    digest = ownership.owner_digest(kernel, mask, 2)
    assert len(digest) == 32

    others = np.where(mask == 2, kernel, kernel + 1)
    newer = np.where(mask == 3, np.uint8(9), mask)
    assert ownership.owner_digest(others, newer, 2) == digest
    assert ownership.owner_digest(others, mask, 1) != digest

    last = np.flatnonzero(mask == 2)[-1]
    changed = kernel.copy()
    changed[last] = np.nextafter(changed[last], np.float32(9))
    assert ownership.owner_digest(changed, mask, 2) != digest
    lost = mask.copy()
    lost[last] = 0
    assert ownership.owner_digest(kernel, lost, 2) != digest


def test_digest_tells_negative_zero_position_shape_and_dtype_apart():
    kernel = np.array([0.0, 0.0, 1.0, 1.0], np.float32)
    mask = np.array([1, 0, 1, 0], np.uint8)
    variants = [
        (kernel, mask),
        (np.array([-0.0, 0.0, 1.0, 1.0], np.float32), mask),
        (kernel, np.array([0, 1, 1, 0], np.uint8)),
        (kernel.reshape(2, 2), mask.reshape(2, 2)),
        (kernel.astype(np.float64), mask),
        (kernel.astype(np.float16), mask),
        (kernel.astype(ml_dtypes.bfloat16), mask),
    ]
    digests = {ownership.owner_digest(k, m, 1) for k, m in variants}
    assert len(digests) == len(variants)


def test_digest_does_not_depend_on_byte_or_memory_order():
    kernel = np.random.default_rng(0).standard_normal((5, 7)).astype("<f4")
    mask = random_mask((5, 7), 2)
    digest = ownership.owner_digest(kernel, mask, 1)
    assert ownership.owner_digest(kernel.astype(">f4"), mask, 1) == digest
    assert ownership.owner_digest(np.asfortranarray(kernel), mask, 1) == digest


def test_digest_is_pinned():
    # Digests are recorded in packed states: they must never change.
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    mask = np.array([[1, 2, 1], [0, 1, 2]], np.uint8)
    assert ownership.owner_digest(kernel, mask, 1).hex() == (
        "12c62daa12c5350fb1d9340a8144ea325c5b4c6a4930f465a9b2c023f5ec4f91"
    )


@pytest.mark.parametrize("owner", [-1, 0, 256])
def test_numbers_that_are_no_tasks(owner):
    kernel, mask = np.zeros(3, np.float32), np.zeros(3, np.uint8)
    for call in (
        lambda: ownership.claim(mask, owner),
        lambda: ownership.release(mask, owner),
        lambda: ownership.view(kernel, mask, owner),
        lambda: ownership.owner_digest(kernel, mask, owner),
    ):
        with pytest.raises(TaskError, match="1 to 255"):
            call()


def test_masks_of_another_type_or_shape():
    with pytest.raises(PackNetError, match="int64"):
        ownership.count(np.zeros(3, np.int64))
    with pytest.raises(PackNetError, match=r"\(3,\)"):
        ownership.view(np.zeros(3), np.zeros(4, np.uint8), 1)
