"""Arrays of a SavedModel: what is on disk, and what it becomes."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from packnet_tf.masks import ownership
from packnet_tf.serving import folded_views
from packnet_tf.serving.weight_store import Arrays


def kernel(newest, shape=(3, 5, 7), dtype="float32", seed=0):
    """Returns weights of tasks up to `newest`, and their owners."""
    random = np.random.default_rng(seed)
    mask = random.integers(0, newest + 1, shape).astype(np.uint8)
    value = random.normal(size=shape).astype(dtype)
    return np.where(mask == 0, value.dtype.type(0), value), mask


def loaded(arrays, made, folder):
    """Returns the values of arrays as a program reads them."""
    folder.mkdir()
    arrays.write(folder)
    for resource in arrays.resources:
        resource._initialize()
    program = tf.function(lambda: arrays.read(made), autograph=False)
    return [value.numpy() for value in program()]


@pytest.mark.parametrize("layout", ["folded", "on_the_fly"])
@pytest.mark.parametrize("newest", [1, 2, 3, 4, 16, 255])
def test_views_come_back_byte_for_byte(newest, layout, tmp_path):
    arrays = Arrays(layout)
    given = [kernel(newest, seed=seed) for seed in (0, 1)]
    kernels = [arrays.add_kernel(*pair) for pair in given]
    owners = sorted({1, newest // 2 or 1, newest})
    asked = [(k, (o, s)) for o in owners for s in (2, o) for k in (0, 1)]
    made = [kernels[k].of(*sees) for k, sees in asked]
    found = loaded(arrays, made, tmp_path / "x")
    for (k, sees), value in zip(asked, found, strict=True):
        expected = ownership.view(*given[k], *sees)
        assert value.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "dtype", ["float16", "float64", "int32", "uint8", "bool", "complex64"]
)
def test_arrays_of_any_type(dtype, tmp_path):
    random = np.random.default_rng(0)
    values = [
        random.integers(0, 2 if dtype == "bool" else 99, shape).astype(dtype)
        for shape in ((4, 3), (), (0, 2), (5,))
    ]
    arrays = Arrays()
    found = loaded(arrays, [arrays.add(v) for v in values], tmp_path / "x")
    for value, expected in zip(found, values, strict=True):
        assert value.dtype == expected.dtype and value.shape == expected.shape
        assert value.tobytes() == expected.tobytes()


def test_bfloat16_and_special_numbers(tmp_path):
    numbers = np.array([0.0, -0.0, np.inf, -np.inf, 1e-42, np.pi], np.float32)
    # A NaN with a payload is another NaN.
    odd = np.array([0x7FC01234, 0xFFC00001], np.uint32).view(np.float32)
    half = tf.cast(numbers, tf.bfloat16).numpy()
    arrays = Arrays()
    made = [arrays.add(v) for v in (numbers, odd, half)]
    found = loaded(arrays, made, tmp_path / "x")
    for value, expected in zip(found, (numbers, odd, half), strict=True):
        assert value.tobytes() == expected.tobytes()


def test_equal_arrays_and_equal_views_are_one(tmp_path):
    arrays = Arrays()
    one = np.arange(6, dtype=np.float32)
    assert arrays.add(one) == arrays.add(one.copy())
    assert arrays.add(one) != arrays.add(one.reshape(2, 3))
    value, mask = kernel(5)
    # Task 3 has no weights here, and 5 neither: 2 = 3, and 4 is everything.
    mask[(mask == 3) | (mask == 5)] = 4
    made = arrays.add_kernel(value, mask)
    assert made.of(5) == made.of(4)
    assert made.of(3) == made.of(2) != made.of(1)
    assert made.of(4) != made.of(3)
    # Without 2, task 3 sees what task 1 sees, and 4 more than it.
    assert made.of(3, since=3) == made.of(1)
    assert made.of(5, since=5) == made.of(1) != made.of(4, since=4)
    assert made.of(4, since=4) != made.of(4)


def test_a_task_without_weights_sees_zeros(tmp_path):
    arrays = Arrays()
    value, mask = kernel(3)
    mask[mask == 1] = 2
    made = arrays.add_kernel(value, mask)
    views = loaded(arrays, [made.of(1), made.of(4, since=4)], tmp_path / "x")
    for view in views:
        assert view.shape == value.shape and not np.any(view)


def test_what_is_free_takes_no_room(tmp_path):
    arrays = Arrays()
    value, mask = kernel(1)
    arrays.add_kernel(value, mask).of(1)
    arrays.write(tmp_path)
    owned = int(np.sum(mask != 0))
    assert (tmp_path / "float32.low").stat().st_size == 3 * owned


def test_other_places_of_the_same_kinds_are_read(tmp_path):
    """One program serves all tasks, which differ in the places they read."""
    arrays = Arrays()
    value, mask = kernel(3)
    made = arrays.add_kernel(value, mask)
    views = [made.of(owner) for owner in (1, 2, 3)]
    arrays.write(tmp_path)
    for resource in arrays.resources:
        resource._initialize()
    program = tf.function(
        lambda places: arrays.read([views[0]], places),
        input_signature=[tf.TensorSpec([1, 4], tf.int32)],
        autograph=False,
    )
    for owner, view in zip((1, 2, 3), views, strict=True):
        (found,) = program(tf.constant([view.place]))
        assert found.shape == value.shape
        expected = ownership.view(value, mask, owner)
        assert found.numpy().tobytes() == expected.tobytes()


def saved(arrays, made, folder):
    """Returns the path of a SavedModel that gives arrays."""
    folder.mkdir()
    arrays.write(folder)
    program = tf.function(
        lambda: {str(i): value for i, value in enumerate(arrays.read(made))},
        input_signature=[],
        autograph=False,
    )
    module = tf.Module()
    module.arrays = arrays.resources
    module.program = program
    tf.saved_model.save(module, folder / "saved", signatures=program)
    return folder / "saved"


@pytest.mark.parametrize("layout", ["folded", "on_the_fly"])
def test_large_arrays_are_made_in_pieces(layout, tmp_path, monkeypatch):
    monkeypatch.setattr(folded_views, "_PIECE", 16)
    arrays = Arrays(layout)
    sizes = (1, 15, 16, 17, 31, 32, 33, 1000)
    given = [kernel(3, (size,), seed=size) for size in sizes]
    # Pieces of which nothing is stored, and of which everything is.
    given[-1][0][100:200], given[-1][1][100:200] = 0, 0
    given[-1][0][300:400], given[-1][1][300:400] = 7, 2
    kernels = [arrays.add_kernel(*pair) for pair in given]
    made = [k.of(owner) for k in kernels for owner in (1, 2, 3)]
    path = str(saved(arrays, made, tmp_path / "x"))
    eager = tf.saved_model.load(path).program()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], path)
        outputs = graph.signature_def["serving_default"].outputs
        found = session.run({key: o.name for key, o in outputs.items()})
    number = 0
    for pair in given:
        for owner in (1, 2, 3):
            expected = ownership.view(*pair, owner).tobytes()
            assert eager[str(number)].numpy().tobytes() == expected
            assert found[str(number)].tobytes() == expected
            number += 1


_PEAK = """
import sys
import tensorflow as tf

def megabytes(what):
    for line in open("/proc/self/status"):
        if line.startswith(what):
            return int(line.split()[1]) / 1024

v1 = tf.compat.v1
v1.Session(graph=tf.Graph()).close()
before = megabytes("VmRSS")
with v1.Session(graph=tf.Graph()) as session:
    v1.saved_model.load(session, ["serve"], sys.argv[1])
    print(megabytes("VmHWM") - before, megabytes("VmRSS") - before)
"""


def test_loading_takes_little_more_memory_than_the_views(tmp_path):
    arrays = Arrays()
    value, mask = kernel(2, (2048, 4096))
    made = arrays.add_kernel(value, mask)
    path = saved(arrays, [made.of(1), made.of(2)], tmp_path / "x")
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, path],
        # With oneDNN, what was freed goes to a pool and not to the system.
        env={**os.environ, "TF_ENABLE_ONEDNN_OPTS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    peak, after = map(float, done.stdout.split())
    # Two views of 32 MB each; what they are made of, 24 MB, is read whole.
    assert 64 < after < 135 and peak < 160
