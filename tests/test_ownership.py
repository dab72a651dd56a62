"""Tests of masks as arrays."""

import struct
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from packnet_tf import ownership
from packnet_tf.errors import PackNetError, StateError, TaskError

FEW = settings(deadline=None, max_examples=40, derandomize=True)
SHAPES = npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=7)
HEADER_1D = 4 + 3 + 8


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
    large = random_mask(2 * ownership._BLOCK + 3, 3)
    assert ownership.count(large) == {
        owner: int((large == owner).sum()) for owner in range(4)
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


@pytest.mark.parametrize(
    "highest, bits", [(0, 2), (3, 2), (4, 4), (15, 4), (16, 8), (255, 8)]
)
def test_bits_needed(highest, bits):
    assert ownership.bits_needed(np.array([0, highest], np.uint8)) == bits


def test_packed_layout_is_pinned():
    two = np.array([1, 2, 0, 3, 1], np.uint8)
    assert ownership.pack_bits(two).tolist() == [0b11_00_10_01, 0b01]
    four = np.array([1, 15, 7], np.uint8)
    assert ownership.pack_bits(four).tolist() == [0xF1, 0x07]
    eight = np.array([1, 200], np.uint8)
    assert ownership.pack_bits(eight).tolist() == [1, 200]


@FEW
@given(st.data(), st.sampled_from([1, 3, 4, 15, 16, 255]))
def test_packing_and_compression_round_trip(data, highest):
    mask = data.draw(masks(highest))
    bits = ownership.bits_needed(mask)
    packed = ownership.pack_bits(mask)
    assert packed.dtype == np.uint8
    assert packed.shape == (-(-mask.size * bits // 8),)
    for back in (
        ownership.unpack_bits(packed, mask.shape, bits),
        ownership.decompress(ownership.compress(mask), mask.shape),
    ):
        assert back.dtype == np.uint8
        assert np.array_equal(back, mask)


@pytest.mark.parametrize("highest", [3, 15, 255])
def test_round_trip_over_many_blocks(highest):
    mask = random_mask(9 * ownership._BLOCK + 5, highest)
    back = ownership.decompress(ownership.compress(mask), mask.shape)
    assert back.tobytes() == mask.tobytes()
    back[0] = 1  # writable, and no view of the file's bytes


def test_unpack_bits_refuses_another_length():
    with pytest.raises(PackNetError, match="array of 2 elements"):
        ownership.unpack_bits(np.zeros(3, np.uint8), (5,), 2)
    with pytest.raises(PackNetError, match="2, 4 or 8"):
        ownership.unpack_bits(np.zeros(3, np.uint8), (5,), 3)


def test_compression_is_deterministic_and_close_to_the_entropy():
    random = np.random.default_rng(0)
    shares = np.array([0.2, 0.5, 0.2, 0.1])
    mask = random.choice(4, size=(1000, 300), p=shares).astype(np.uint8)
    blob = ownership.compress(mask)
    assert blob.dtype == np.uint8 and blob.ndim == 1
    again = ownership.compress(np.asfortranarray(mask))
    assert again.tobytes() == blob.tobytes()
    entropy = -(shares * np.log2(shares)).sum() * mask.size / 8
    assert blob.size < 1.02 * entropy


def test_compressing_nothing_and_one_weight():
    for mask in (np.zeros((0, 3), np.uint8), np.array([7], np.uint8)):
        back = ownership.decompress(ownership.compress(mask), mask.shape)
        assert back.shape == mask.shape and np.array_equal(back, mask)


def test_decompress_takes_bytes_and_strided_arrays():
    mask = random_mask((5, 3), 3)
    blob = ownership.compress(mask)
    assert np.array_equal(ownership.decompress(blob.tobytes(), (5, 3)), mask)
    spread = np.repeat(blob, 2)[::2]
    assert np.array_equal(ownership.decompress(spread, (5, 3)), mask)


@pytest.mark.parametrize("shape", [(3, 5), (15,), (5, 3, 1), (), (5, 4)])
def test_decompress_refuses_another_shape(shape):
    blob = ownership.compress(random_mask((5, 3), 3))
    with pytest.raises(StateError, match=r"shape \(5, 3\)"):
        ownership.decompress(blob, shape)


def test_decompress_refuses_what_is_cut_off_or_too_long():
    blob = ownership.compress(random_mask((50,), 3))
    for length in range(blob.size):
        with pytest.raises(StateError):
            ownership.decompress(blob[:length], (50,))
    with pytest.raises(StateError):
        ownership.decompress(np.append(blob, np.uint8(0)), (50,))


def test_decompress_never_returns_another_mask_for_a_changed_byte():
    mask = random_mask((50,), 3)
    blob = ownership.compress(mask)
    for position in range(blob.size):
        for change in (0x01, 0x80, 0xFF):
            damaged = blob.copy()
            damaged[position] ^= change
            try:
                back = ownership.decompress(damaged, (50,))
            except StateError:
                continue
            # Some bits of a frame's header carry nothing.
            assert np.array_equal(back, mask)


@FEW
@given(st.binary(max_size=80), st.booleans())
def test_decompress_refuses_noise(noise, with_header):
    if with_header:
        noise = (
            ownership.compress(np.ones(9, np.uint8))[:HEADER_1D].tobytes()
            + noise
        )
    with pytest.raises(StateError):
        ownership.decompress(noise, (9,))


@pytest.mark.parametrize(
    "position, value, message",
    [(0, 0, "begins with"), (4, 2, "format version 2"), (5, 3, "3 bits")],
)
def test_decompress_refuses_a_foreign_header(position, value, message):
    blob = ownership.compress(np.ones(9, np.uint8)).copy()
    blob[position] = value
    with pytest.raises(StateError, match=message):
        ownership.decompress(blob, (9,))


def test_decompress_refuses_another_kind_of_array():
    with pytest.raises(StateError, match="float32"):
        ownership.decompress(np.zeros(30, np.float32), (9,))
    with pytest.raises(StateError, match="dimensions"):
        ownership.decompress(np.zeros((5, 6), np.uint8), (9,))


def bombs():
    size = 1 << 26
    bomb = zstandard.ZstdCompressor(level=1).compress(bytes(size))
    told = bomb.index(struct.pack("<I", size))
    yield "honest", bomb
    # 9 weights of 2 bits take 3 bytes, says the header of this one.
    yield "lying", bomb[:told] + struct.pack("<I", 3) + bomb[told + 4 :]
    silent = zstandard.ZstdCompressor(level=1, write_content_size=False)
    yield "silent", silent.compress(bytes(size))


@pytest.mark.parametrize("kind, bomb", bombs(), ids=lambda x: str(x)[:6])
def test_decompress_bounds_its_memory(kind, bomb):
    header = ownership.compress(np.ones(9, np.uint8))[:HEADER_1D]
    blob = header.tobytes() + bomb
    tracemalloc.start()
    try:
        with pytest.raises(StateError):
            ownership.decompress(blob, (9,))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


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
        ownership.compress(np.zeros(3, np.int64))
    with pytest.raises(PackNetError, match=r"\(3,\)"):
        ownership.view(np.zeros(3), np.zeros(4, np.uint8), 1)
