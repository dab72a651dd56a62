"""Manifests and masks of any content are refused, or can be used."""

import copy
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packnet_tf.errors import StateError
from packnet_tf.masks import codec
from packnet_tf.storage import checksums, manifest

MANY = 10_000
RECORD = {
    "schema": 2,
    "number": 1,
    "name": "a",
    "tasks": [
        {
            "name": "a",
            "owner": 1,
            "classes": 2,
            "class_names": ["x", "y"],
            "digest": "0" * 64,
            "metrics": {"capacity_left": 0.5},
            "facts": {},
        }
    ],
    "files": dict.fromkeys(manifest.FILES, "0" * 64),
    "machine": {},
    "versions": {},
    "probe": "open batch",
    "origin": None,
}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["../a", "/a", "a", "0" * 64, 2**70]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value, path=()):
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, part in items:
        yield from places(part, (*path, key))


PLACES = sorted(places(RECORD), key=str)


def check_manifest(folder, place, value, action):
    record = copy.deepcopy(RECORD)
    inner = record
    for key in place[:-1]:
        inner = inner[key]
    if action == "replace":
        inner[place[-1]] = value
    elif action == "remove":
        del inner[place[-1]]
    else:
        record = value
    checksums.write_sealed_json(folder, "manifest", record)
    try:
        found = manifest.read(folder, 1, "a")
    except StateError as error:
        assert "manifest" in str(error)
        return
    # What is accepted can be used.
    assert found.number == 1
    for task in found.tasks:
        assert "/" not in task.name
        assert task.metrics.get("x") is None
        assert all(isinstance(n, str) for n in task.class_names or ())


FUZZ = given(
    st.sampled_from(PLACES),
    VALUES,
    st.sampled_from(["replace", "remove", "whole"]),
)


@pytest.fixture(scope="module")
def fuzz_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def test_fuzzed_manifests(fuzz_folder):
    @settings(max_examples=300, deadline=None, derandomize=True)
    @FUZZ
    def run(place, value, action):
        check_manifest(fuzz_folder, place, value, action)

    run()


@pytest.mark.slow
def test_many_fuzzed_manifests(fuzz_folder):
    @settings(max_examples=MANY, deadline=None, derandomize=True)
    @FUZZ
    def run(place, value, action):
        check_manifest(fuzz_folder, place, value, action)

    run()


def check_mask(shape, seed, noise, cut):
    random = np.random.default_rng(seed)
    mask = random.integers(0, 5, shape).astype(np.uint8)
    blob = codec.compress(mask).copy()
    for place, value in noise:
        blob[place % blob.size] = value
    blob = blob[: blob.size - cut % blob.size] if cut else blob
    try:
        found = codec.decompress(blob, shape)
    except StateError:
        return
    # The checksum lets nothing through but what was written.
    assert np.array_equal(found, mask)


MASKS = given(
    st.tuples(st.integers(0, 40), st.integers(1, 9)),
    st.integers(0, 2**32),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
    st.integers(0, 30),
)


def test_fuzzed_masks():
    settings(max_examples=300, deadline=None, derandomize=True)(
        MASKS(check_mask)
    )()


@pytest.mark.slow
def test_many_fuzzed_masks():
    settings(max_examples=MANY, deadline=None, derandomize=True)(
        MASKS(check_mask)
    )()


@pytest.mark.parametrize("claimed", [10**6, 2**40, 2**63])
def test_a_mask_larger_than_its_kernel_is_refused(claimed):
    blob = codec.compress(np.ones(9, np.uint8)).tobytes()
    header = blob[:7] + struct.pack("<Q", claimed) + blob[15:]
    tracemalloc.start()
    try:
        with pytest.raises(StateError, match="its kernel has shape"):
            codec.decompress(header, (9,))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
