import dataclasses
import json

import numpy as np
import pytest

from packnet_tf.errors import StateError
from packnet_tf.storage import checksums
from packnet_tf.task import Task


def test_sealed_json_round_trips(tmp_path):
    value = {"b": [1, 2.5, None], "a": {"ü": "x"}}
    checksums.write_sealed_json(tmp_path, "manifest", value)
    assert checksums.read_sealed_json(tmp_path, "manifest") == value


def test_numpy_values_become_plain_ones():
    content = checksums.json_bytes({"a": np.float32(0.5), "b": np.arange(2)})
    assert json.loads(content) == {"a": 0.5, "b": [0, 1]}


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256"])
def test_every_flipped_byte_is_found_and_the_file_named(tmp_path, name):
    checksums.write_sealed_json(tmp_path, "manifest", {"a": 1})
    path = tmp_path / name
    content = path.read_bytes()
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1
        path.write_bytes(bytes(flipped))
        with pytest.raises(StateError, match=name):
            checksums.read_sealed_json(tmp_path, "manifest")


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256"])
def test_a_missing_file_is_named(tmp_path, name):
    checksums.write_sealed_json(tmp_path, "manifest", {"a": 1})
    (tmp_path / name).unlink()
    with pytest.raises(StateError, match=name):
        checksums.read_sealed_json(tmp_path, "manifest")


def test_check_seal_names_what_differs(tmp_path):
    (tmp_path / "variables").mkdir()
    for name in ("saved_model.pb", "variables/index", "variables/data"):
        (tmp_path / name).write_bytes(name.encode())
    assert not checksums.is_sealed(tmp_path)
    task = Task("a", 1, 2, digest="0" * 64)
    checksums.seal_folder(tmp_path, "1" * 64, [task], "folded")
    assert checksums.is_sealed(tmp_path)
    seal = checksums.read_seal(tmp_path)
    assert (seal.state, seal.layout) == ("1" * 64, "folded")
    assert seal.is_of([task])
    assert not seal.is_of([dataclasses.replace(task, name="b")])
    assert checksums.check_seal(tmp_path) == []
    (tmp_path / "saved_model.pb").write_bytes(b"saved_model.pc")
    (tmp_path / "variables/data").unlink()
    (tmp_path / "more").touch()
    problems = "\n".join(checksums.check_seal(tmp_path))
    assert problems.count("\n") == 2
    for name in ("saved_model.pb", "variables/data", "more"):
        assert name in problems
    (tmp_path / "assets.extra" / "packnet.sha256").unlink()
    assert "packnet.sha256" in checksums.check_seal(tmp_path)[0]
