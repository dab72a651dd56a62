"""Small files that claim or unpack to much: refused at once, at no cost."""

import gc
import os
import pathlib
import re
import time
import tracemalloc
import zipfile
import zlib

import h5py
import keras
import numpy as np
import pytest
from support import tiny_nets

from packnet_tf.data.sources.arrays import read_npz
from packnet_tf.errors import PackNetError
from packnet_tf.model.extract import extract
from packnet_tf.networks import build
from packnet_tf.networks.weights import load_file
from packnet_tf.storage import checkpoints, golden
from packnet_tf.storage.network_file import read_network
from packnet_tf.untrusted.archives import check_array_archive

SIZE = 1 << 28
SECONDS = 2


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A folder of sound files, and what reads them."""
    folder = tmp_path_factory.mktemp("sound")
    net = tiny_nets.packed_net(("a",))
    net.save(folder / "net.keras")
    net.save_weights(folder / "net.weights.h5")
    plain = extract(net, "a")
    plain.save(folder / "plain.keras")
    plain.save_weights(folder / "plain.weights.h5")
    np.savez(
        folder / "images.npz",
        x_train=np.ones((4, 8, 8, 3), np.uint8),
        y_train=np.arange(4) % 2,
    )
    np.savez(folder / "checkpoint.npz", variable_0=np.ones(9))
    return folder, {
        "net.keras": net.load_weights,
        "state net.keras": read_network,
        "loaded net.keras": keras.saving.load_model,
        "net.weights.h5": net.load_weights,
        "plain.keras": lambda path: build(
            str(path), image_size=tiny_nets.SIZE, head_layer="none"
        ),
        "plain.weights.h5": lambda path: load_file(plain, str(path)),
        "images.npz": read_npz,
        "checkpoint.npz": check_array_archive,
    }


def longer(member):
    """Returns a bomb: a member that unpacks to much more than it was."""

    def make(source, target):
        with (
            zipfile.ZipFile(source) as old,
            zipfile.ZipFile(
                target, "w", zipfile.ZIP_DEFLATED, compresslevel=1
            ) as new,
        ):
            for name in old.namelist():
                with new.open(name, "w", force_zip64=True) as file:
                    file.write(old.read(name))
                    for _ in range(SIZE >> 20 if name == member else 0):
                        file.write(b" " * (1 << 20))

    return make


def array(name):
    """Returns a bomb: an array of zeros, compressed."""

    def make(source, target):
        with np.load(source) as old:
            arrays = {**old, name: np.zeros(SIZE // 8, np.float64)}
        with zipfile.ZipFile(
            target, "w", zipfile.ZIP_DEFLATED, compresslevel=1
        ) as new:
            for key, value in arrays.items():
                with new.open(f"{key}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, value)

    return make


def first_array(file):
    """Removes the first array of an HDF5 file; returns what it was called."""
    found = []
    file.visititems(
        lambda name, part: (
            found.append(name) if hasattr(part, "nbytes") else None
        )
    )
    del file[found[0]]
    return found[0]


def chunks(source, target):
    """A bomb: the first array of weights, compressed inside of HDF5."""
    target.write_bytes(source.read_bytes())
    with h5py.File(target, "a") as file:
        file.create_dataset(
            first_array(file),
            (SIZE,),
            "u1",
            chunks=(1 << 24,),
            compression="gzip",
        )[:] = 0


def claimed(source, target):
    """An array of weights that claims to be larger than any memory."""
    target.write_bytes(source.read_bytes())
    with h5py.File(target, "a") as file:
        file.create_dataset(first_array(file), (1 << 45,), "f4")


BOMBS = [
    *(
        (name, longer(member))
        for name in ("net.keras", "state net.keras", "plain.keras")
        for member in ("config.json", "model.weights.h5", "metadata.json")
    ),
    ("loaded net.keras", longer("model.weights.h5")),
    *(
        (name, make)
        for name in ("net.weights.h5", "plain.weights.h5")
        for make in (chunks, claimed)
    ),
    ("images.npz", array("x_train")),
    ("images.npz", array("more")),
    ("checkpoint.npz", array("variable_0")),
]


def resident(what):
    """Returns the memory of this process in bytes: VmRSS now, VmHWM at most."""
    status = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"{what}:\s+(\d+)", status)[1])


def peak_of(use):
    """Returns by how much a call makes the process grow, in bytes."""
    gc.collect()
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew.
    before = resident("VmRSS")
    use()
    return resident("VmHWM") - before


def cost(use):
    """Returns the highest memory and the seconds of a call."""
    tracemalloc.start()
    start = time.monotonic()
    try:
        use()
    finally:
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return memory, time.monotonic() - start


@pytest.mark.parametrize("name, make", BOMBS)
def test_a_bomb_costs_no_more_than_a_sound_file(sound, tmp_path, name, make):
    folder, reads = sound
    file = name.rpartition(" ")[2]
    path = tmp_path / file
    make(folder / file, path)
    assert path.stat().st_size < SIZE / 100

    def refuse():
        with pytest.raises(PackNetError, match=file) as info:
            reads[name](path)
        assert "\n" not in str(info.value)

    if os.access("/proc/self/clear_refs", os.W_OK):
        grown = peak_of(refuse)
        sound_one = peak_of(lambda: reads[name](folder / file))
        # Parts of other memory come and go.
        assert grown < 1.2 * max(sound_one, SIZE // 8)
    expected, _ = cost(lambda: reads[name](folder / file))
    memory, seconds = cost(refuse)
    # What naming the file takes is more than reading a tiny one does.
    assert memory < 1.2 * max(expected, 1 << 20)
    assert seconds < SECONDS


def test_a_config_of_a_plain_model_asks_for_no_more_than_its_weights(
    sound, tmp_path
):
    folder, reads = sound
    path = tmp_path / "plain.keras"
    with (
        zipfile.ZipFile(folder / "plain.keras") as old,
        zipfile.ZipFile(path, "w") as new,
    ):
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                assert b'"filters": 12' in content
                content = content.replace(
                    b'"filters": 12', b'"filters": 1234567890'
                )
            new.writestr(name, content)
    with pytest.raises(PackNetError, match="asks for variables of more than"):
        reads["plain.keras"](path)


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]
)
def test_what_compresses_as_weights_do_is_read(sound, tmp_path, compression):
    folder, reads = sound
    with (
        zipfile.ZipFile(folder / "plain.keras") as old,
        zipfile.ZipFile(tmp_path / "plain.keras", "w", compression) as new,
    ):
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr("assets/", b"")
        new.writestr("assets/layers/text/vocabulary.txt", b"word")
    reads["plain.keras"](tmp_path / "plain.keras")


def test_a_checkpoint_that_is_a_bomb_is_refused_by_its_record(sound, tmp_path):
    array("record")(sound[0] / "checkpoint.npz", tmp_path / checkpoints.FILE)
    with pytest.raises(PackNetError, match="compressed"):
        checkpoints.read_record(tmp_path)


def test_nothing_of_a_refused_file_is_loaded(sound, tmp_path):
    folder, _ = sound
    net = keras.saving.load_model(folder / "net.keras")
    before = net.digest_of("a")
    chunks(folder / "net.weights.h5", tmp_path / "net.weights.h5")
    with pytest.raises(PackNetError, match="claims"):
        net.load_weights(tmp_path / "net.weights.h5")
    assert net.digest_of("a") == before == net.task("a").digest


@pytest.mark.parametrize("part", ["owners", "top"])
def test_a_saved_model_that_is_a_bomb_is_not_loaded(tmp_path, part):
    workdir = tiny_nets.packed_workdir(
        tmp_path / "w", ("a",), probe_images=tiny_nets.images(2)
    )
    folder = workdir.serving_path / "net" / "1"
    state = workdir.newest()
    assert [found.same for found in golden.replay_saved_model(state, folder)]
    (file,) = folder.glob(f"assets/float32.{part}")
    file.write_bytes(zlib.compress(b"\0" * SIZE, 1))

    def refuse():
        with pytest.raises(PackNetError, match="unpacks to more") as info:
            golden.replay_saved_model(state, folder)
        assert str(file) in str(info.value)

    memory, _ = cost(refuse)
    assert memory < 8 << 20
