"""Tests of masks as few bytes."""

import struct
import tracemalloc

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from packnet_tf.errors import PackNetError, StateError
from packnet_tf.masks import codec, ownership

FEW = settings(deadline=None, max_examples=40, derandomize=True)
SHAPES = npst.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=7)
HEADER_1D = 4 + 3 + 8


def masks(highest=255):
    return npst.arrays(np.uint8, SHAPES, elements=st.integers(0, highest))


def random_mask(shape, highest, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, highest + 1, shape).astype(np.uint8)


@pytest.mark.parametrize(
    "highest, bits", [(0, 2), (3, 2), (4, 4), (15, 4), (16, 8), (255, 8)]
)
def test_bits_needed(highest, bits):
    assert codec.bits_needed(np.array([0, highest], np.uint8)) == bits


def test_packed_layout_is_pinned():
    two = np.array([1, 2, 0, 3, 1], np.uint8)
    assert codec.pack_bits(two).tolist() == [0b11_00_10_01, 0b01]
    four = np.array([1, 15, 7], np.uint8)
    assert codec.pack_bits(four).tolist() == [0xF1, 0x07]
    eight = np.array([1, 200], np.uint8)
    assert codec.pack_bits(eight).tolist() == [1, 200]


@FEW
@given(st.data(), st.sampled_from([1, 3, 4, 15, 16, 255]))
def test_packing_and_compression_round_trip(data, highest):
    mask = data.draw(masks(highest))
    bits = codec.bits_needed(mask)
    packed = codec.pack_bits(mask)
    assert packed.dtype == np.uint8
    assert packed.shape == (-(-mask.size * bits // 8),)
    for back in (
        codec.unpack_bits(packed, mask.shape, bits),
        codec.decompress(codec.compress(mask), mask.shape),
    ):
        assert back.dtype == np.uint8
        assert np.array_equal(back, mask)


@pytest.mark.parametrize("highest", [3, 15, 255])
def test_round_trip_over_many_blocks(highest):
    mask = random_mask(9 * ownership._BLOCK + 5, highest)
    back = codec.decompress(codec.compress(mask), mask.shape)
    assert back.tobytes() == mask.tobytes()
    back[0] = 1  # writable, and no view of the file's bytes


def test_unpack_bits_refuses_another_length():
    with pytest.raises(PackNetError, match="array of 2 elements"):
        codec.unpack_bits(np.zeros(3, np.uint8), (5,), 2)
    with pytest.raises(PackNetError, match="2, 4 or 8"):
        codec.unpack_bits(np.zeros(3, np.uint8), (5,), 3)


def test_compression_is_deterministic_and_close_to_the_entropy():
    random = np.random.default_rng(0)
    shares = np.array([0.2, 0.5, 0.2, 0.1])
    mask = random.choice(4, size=(1000, 300), p=shares).astype(np.uint8)
    blob = codec.compress(mask)
    assert blob.dtype == np.uint8 and blob.ndim == 1
    again = codec.compress(np.asfortranarray(mask))
    assert again.tobytes() == blob.tobytes()
    entropy = -(shares * np.log2(shares)).sum() * mask.size / 8
    assert blob.size < 1.02 * entropy


def test_compressing_nothing_and_one_weight():
    for mask in (np.zeros((0, 3), np.uint8), np.array([7], np.uint8)):
        back = codec.decompress(codec.compress(mask), mask.shape)
        assert back.shape == mask.shape and np.array_equal(back, mask)


def test_decompress_takes_bytes_and_strided_arrays():
    mask = random_mask((5, 3), 3)
    blob = codec.compress(mask)
    assert np.array_equal(codec.decompress(blob.tobytes(), (5, 3)), mask)
    spread = np.repeat(blob, 2)[::2]
    assert np.array_equal(codec.decompress(spread, (5, 3)), mask)


@pytest.mark.parametrize("shape", [(3, 5), (15,), (5, 3, 1), (), (5, 4)])
def test_decompress_refuses_another_shape(shape):
    blob = codec.compress(random_mask((5, 3), 3))
    with pytest.raises(StateError, match=r"shape \(5, 3\)"):
        codec.decompress(blob, shape)


def test_decompress_refuses_what_is_cut_off_or_too_long():
    blob = codec.compress(random_mask((50,), 3))
    for length in range(blob.size):
        with pytest.raises(StateError):
            codec.decompress(blob[:length], (50,))
    with pytest.raises(StateError):
        codec.decompress(np.append(blob, np.uint8(0)), (50,))


def test_decompress_never_returns_another_mask_for_a_changed_byte():
    mask = random_mask((50,), 3)
    blob = codec.compress(mask)
    for position in range(blob.size):
        for change in (0x01, 0x80, 0xFF):
            damaged = blob.copy()
            damaged[position] ^= change
            try:
                back = codec.decompress(damaged, (50,))
            except StateError:
                continue
            # Some bits of a frame's header carry nothing.
            assert np.array_equal(back, mask)


@FEW
@given(st.binary(max_size=80), st.booleans())
def test_decompress_refuses_noise(noise, with_header):
    if with_header:
        noise = (
            codec.compress(np.ones(9, np.uint8))[:HEADER_1D].tobytes() + noise
        )
    with pytest.raises(StateError):
        codec.decompress(noise, (9,))


@pytest.mark.parametrize(
    "position, value, message",
    [(0, 0, "begins with"), (4, 2, "format version 2"), (5, 3, "3 bits")],
)
def test_decompress_refuses_a_foreign_header(position, value, message):
    blob = codec.compress(np.ones(9, np.uint8)).copy()
    blob[position] = value
    with pytest.raises(StateError, match=message):
        codec.decompress(blob, (9,))


def test_decompress_refuses_another_kind_of_array():
    with pytest.raises(StateError, match="float32"):
        codec.decompress(np.zeros(30, np.float32), (9,))
    with pytest.raises(StateError, match="dimensions"):
        codec.decompress(np.zeros((5, 6), np.uint8), (9,))


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
    header = codec.compress(np.ones(9, np.uint8))[:HEADER_1D]
    blob = header.tobytes() + bomb
    tracemalloc.start()
    try:
        with pytest.raises(StateError):
            codec.decompress(blob, (9,))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_masks_of_another_type():
    with pytest.raises(PackNetError, match="int64"):
        codec.compress(np.zeros(3, np.int64))
