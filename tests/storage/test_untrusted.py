"""Workdirs of strangers: no code is run, and memory stays bounded."""

import copy
import io
import json
import os
import resource
import shutil
import struct
import tracemalloc
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from support import tiny_nets
from tensorflow.core.protobuf import saved_model_pb2

from packnet_tf.errors import StateError
from packnet_tf.masks import codec
from packnet_tf.options.serving import ServingConfig
from packnet_tf.serving.versions import publish
from packnet_tf.storage import checksums, manifest, states
from packnet_tf.storage.network_file import read_network
from packnet_tf.storage.untrusted import archives, programs
from packnet_tf.storage.workdir import Workdir

MANY = 10_000


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    workdir = Workdir(tmp_path_factory.mktemp("untrusted") / "w")
    net = tiny_nets.packed_net(("a",))
    state = states.commit(workdir, net, probe_images=tiny_nets.images(2))
    publish(workdir, state, ServingConfig("net"))
    return workdir


@pytest.fixture
def network(made, tmp_path):
    """The file of a network, and a function that changes a member of it."""
    path = tmp_path / "net.keras"
    shutil.copy(made.newest().network_path, path)

    def change(member, content, name=None, **how):
        with zipfile.ZipFile(path) as archive:
            members = {n: archive.read(n) for n in archive.namelist()}
        if name is None:
            members[member] = content
        with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for key, value in members.items():
                archive.writestr(key, value, **how)
            if name is not None:
                archive.writestr(name, content)
        return path

    change.path = path
    return change


@pytest.mark.parametrize(
    "name",
    [
        "/etc/cron.d/x",
        "../x",
        "assets/../../x",
        "..\\x",
        "assets/x",
        "config.json",
        "C:\\x",
    ],
)
def test_members_that_do_not_belong_are_refused(network, name):
    path = network(None, b"x", name=name)
    with pytest.raises(StateError, match="holds the member"):
        read_network(path)


def test_compressed_members_are_refused(network):
    path = network(
        "metadata.json", b" " * 10**6, compress_type=zipfile.ZIP_DEFLATED
    )
    with pytest.raises(StateError, match="compressed or encrypted"):
        read_network(path)


def backbone_of(config):
    return config["config"]["backbone"]["config"]


LAMBDA = {
    "module": "keras.layers",
    "class_name": "Lambda",
    "config": {
        "name": "x",
        "function": {
            "class_name": "__lambda__",
            "config": {"code": "4wAAAAA=", "defaults": None, "closure": None},
        },
    },
    "registered_name": None,
    "build_config": {"input_shape": [None, 4]},
}
SYSTEM = {
    "module": "os",
    "class_name": "function",
    "config": "system",
    "registered_name": "system",
}
UNSAFE = {
    "module": "keras.config",
    "class_name": "function",
    "config": "enable_unsafe_deserialization",
    "registered_name": "enable_unsafe_deserialization",
}


@pytest.mark.parametrize("evil", [LAMBDA, SYSTEM, UNSAFE])
def test_no_code_of_the_file_is_run(network, monkeypatch, evil):
    def stop(*_, **__):
        raise AssertionError("code of the file was run")

    monkeypatch.setattr(os, "system", stop)
    with zipfile.ZipFile(network.path) as archive:
        config = json.loads(archive.read("config.json"))
    for layer in backbone_of(config)["layers"]:
        if "activation" in layer["config"]:
            layer["config"]["activation"] = evil
    path = network("config.json", json.dumps(config).encode())
    with pytest.raises(StateError, match="cannot be read"):
        read_network(path)
    assert not keras.src.saving.serialization_lib.in_safe_mode()


def test_a_config_asks_for_no_more_than_is_in_the_file(network):
    with zipfile.ZipFile(network.path) as archive:
        config = json.loads(archive.read("config.json"))
    layers = backbone_of(config)["layers"]
    dense = [x for x in layers if "units" in x["config"]]
    assert dense
    dense[-1]["config"]["units"] = 1 << 36
    path = network("config.json", json.dumps(config).encode())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(StateError, match="68719476736.*not in it"):
        read_network(path)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 1 << 18  # kilobytes
    # Nothing of it stays.
    keras.layers.Dense(4).build((1000, 1000))


def test_a_network_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "net.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(path)
    with pytest.raises(StateError):
        read_network(path)


def evil_h5(kind):
    file = io.BytesIO()
    with h5py.File(file, "w") as store:
        group = store.create_group("layers")
        if kind == "soft link":
            group["x"] = h5py.SoftLink("/layers")
        elif kind == "external link":
            group["x"] = h5py.ExternalLink("/etc/passwd", "/")
        elif kind == "external data":
            group.create_dataset(
                "x", (4,), "u1", external=[("/etc/passwd", 0, 4)]
            )
        elif kind == "compressed":
            group.create_dataset("x", data=np.zeros(10**6), compression="gzip")
        elif kind == "empty":
            group.create_dataset("x", (10**12,), "f4")
        elif kind == "objects":
            group.create_dataset("x", data=["a"], dtype=h5py.string_dtype())
    return file.getvalue()


@pytest.mark.parametrize(
    "kind",
    [
        "soft link",
        "external link",
        "external data",
        "compressed",
        "empty",
        "objects",
    ],
)
def test_weights_are_in_the_file_and_no_larger(network, kind):
    path = network("model.weights.h5", evil_h5(kind))
    tracemalloc.start()
    try:
        with pytest.raises(StateError, match="is a link|claims"):
            archives.check_network_archive(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


def test_arrays_are_what_they_claim(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, images=np.zeros((2, 3), np.float32))
    archives.check_array_archive(path)

    def write(name, content, **how):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, content, **how)

    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)}
    )
    pickled = io.BytesIO()
    np.lib.format.write_array(pickled, np.array([{}], object))
    for name, content, match in (
        ("images.npy", header.getvalue(), "claims"),
        ("images.npy", pickled.getvalue(), "claims"),
        ("images.npy", b"x", "damaged"),
        ("../images.npy", header.getvalue(), "holds the member"),
        ("images", b"x", "holds the member"),
    ):
        write(name, content)
        with pytest.raises(StateError, match=match):
            archives.check_array_archive(path)
    np.savez_compressed(path, images=np.zeros(10**6))
    with pytest.raises(StateError, match="compressed"):
        archives.check_array_archive(path)


def test_saved_models_only_compute(made, tmp_path):
    programs.check_programs(made.serving_path / "net" / "1")

    class Evil(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
        def serve(self, x):
            tf.io.write_file(str(tmp_path / "written"), x)
            return x

    class Saver(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
        def serve(self, x):
            return tf.io.read_file(x)

    elsewhere = tf.constant("/etc/hostname")

    class Captured(tf.Module):
        @tf.function(input_signature=[])
        def serve(self):
            return tf.io.read_file(elsewhere)

    for module, op in (
        (Evil(), "WriteFile"),
        (Saver(), "ReadFile"),
        (Captured(), "ReadFile"),
    ):
        folder = tmp_path / type(module).__name__ / op
        tf.saved_model.save(module, str(folder))
        with pytest.raises(StateError, match=f"operation {op}, which does"):
            programs.check_programs(folder)
    (folder / "saved_model.pb").write_bytes(b"\xff\xff\xff")
    with pytest.raises(StateError, match="saved_model.pb is damaged"):
        programs.check_programs(folder)


def test_a_saved_model_of_tensorflow_1_is_refused(tmp_path):
    """Its initializer would run as it is loaded."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        written = tf.io.write_file(str(tmp_path / "written"), "x")
        builder = v1.saved_model.Builder(str(tmp_path / "model"))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"a": v1.saved_model.predict_signature_def({"x": x}, {"y": x})},
            main_op=written,
        )
        builder.save()
    with pytest.raises(StateError, match="is of TensorFlow 1"):
        programs.check_programs(tmp_path / "model")


@pytest.mark.parametrize(
    ("op", "where"),
    [
        ("WriteFile", "graph"),
        ("LoadAndRemapMatrix", "function"),
        ("DecodeProtoV2", "function"),
        ("WriteFile", "traced save"),
    ],
)
def test_an_operation_anywhere_in_a_saved_model_is_found(
    made, tmp_path, op, where
):
    file = made.serving_path / "net" / "1" / "saved_model.pb"
    message = saved_model_pb2.SavedModel()
    message.ParseFromString(file.read_bytes())
    graph = message.meta_graphs[0].graph_def
    nodes = {
        "traced save" if "traced_save" in f.signature.name else "function": f
        for f in graph.library.function
    }
    place = graph.node if where == "graph" else nodes[where].node_def
    place.add(op=op, name="more")
    (tmp_path / "saved_model.pb").write_bytes(message.SerializeToString())
    with pytest.raises(StateError, match=f"has the operation {op}"):
        programs.check_programs(tmp_path)


def test_a_saved_model_reads_its_own_assets_alone(tmp_path):
    (tmp_path / "words").write_text("one")

    class Reader(tf.Module):
        def __init__(self):
            super().__init__()
            self.asset = tf.saved_model.Asset(str(tmp_path / "words"))

        @tf.function(input_signature=[])
        def serve(self):
            return tf.io.read_file(self.asset.asset_path)

    folder = tmp_path / "model"
    tf.saved_model.save(Reader(), str(folder))
    programs.check_programs(folder)
    file = folder / "saved_model.pb"
    message = saved_model_pb2.SavedModel()
    message.ParseFromString(file.read_bytes())
    for asset in message.meta_graphs[0].asset_file_def:
        asset.filename = "../../../words"
    file.write_bytes(message.SerializeToString())
    with pytest.raises(StateError, match="is not among its files"):
        programs.check_programs(folder)


# Fuzz. The manifest is fuzzed as a value, behind digests that fit.

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
