"""Archives of strangers: no code is run, and memory stays bounded."""

import io
import json
import os
import resource
import shutil
import tracemalloc
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest

from packnet_tf.errors import StateError
from packnet_tf.storage.network_file import read_network
from packnet_tf.untrusted import archives


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
