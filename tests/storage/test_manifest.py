import copy

import pytest

from packnet_tf.errors import StateError
from packnet_tf.storage import checksums, manifest

DIGEST = "0" * 64
TASK = manifest.PackedTask("a", 1, 2, digest=DIGEST)


@pytest.fixture
def folder(tmp_path):
    for name in manifest.FILES:
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def write(folder):
    manifest.write(
        folder,
        [TASK],
        machine={"cpus": 2},
        versions={"keras": "3"},
        probe="open batch",
        origin=None,
    )


def test_round_trip_with_the_digests_of_the_files(folder):
    write(folder)
    assert manifest.read(folder, 1, "a") == manifest.Manifest(
        number=1,
        name="a",
        tasks=(TASK,),
        files={
            name: checksums.digest_of_file(folder / name)
            for name in manifest.FILES
        },
        machine={"cpus": 2},
        versions={"keras": "3"},
        probe="open batch",
        origin=None,
        schema=2,
    )


def test_the_file_is_what_it_always_was(folder):
    write(folder)
    assert checksums.read_sealed_json(folder, "manifest") == {
        "schema": 2,
        "number": 1,
        "name": "a",
        "tasks": [
            {
                "name": "a",
                "owner": 1,
                "classes": 2,
                "class_names": None,
                "activation": "softmax",
                "head": None,
                "loss": None,
                "phase": "train",
                "trained": False,
                "claimed": [],
                "digest": DIGEST,
                "reads": "all",
                "weights": 0,
                "metrics": {},
                "facts": {},
            }
        ],
        "files": {
            name: checksums.digest_of_file(folder / name)
            for name in manifest.FILES
        },
        "machine": {"cpus": 2},
        "versions": {"keras": "3"},
        "probe": "open batch",
        "origin": None,
    }


def test_another_folder_name_is_refused(folder):
    write(folder)
    with pytest.raises(StateError, match="001-a"):
        manifest.read(folder, 2, "a")


@pytest.mark.parametrize("schema", [99, 0, True, 1.0, "2", None])
def test_another_schema_is_refused(folder, schema):
    write(folder)
    record = {
        **checksums.read_sealed_json(folder, "manifest"),
        "schema": schema,
    }
    checksums.write_sealed_json(folder, "manifest", record)
    with pytest.raises(StateError, match=f"schema {schema!r}, .* 1 to 2"):
        manifest.read(folder, 1, "a")


def test_the_first_schema_is_migrated(folder):
    write(folder)
    record = {**checksums.read_sealed_json(folder, "manifest"), "schema": 1}
    del record["probe"]
    checksums.write_sealed_json(folder, "manifest", record)
    found = manifest.read(folder, 1, "a")
    assert found.schema == 2 and found.probe == "fixed batch"


def _paths(value, path=()):
    yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, part in items:
        yield from _paths(part, (*path, key))


@pytest.mark.parametrize("junk", [None, 7, "x", [], {}, [None], True])
def test_nothing_but_a_state_error_whatever_is_in_it(folder, junk):
    write(folder)
    good = checksums.read_sealed_json(folder, "manifest")
    refused = 0
    for path in _paths(good):
        record = copy.deepcopy(good)
        if path:
            place = record
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = junk
        else:
            record = junk
        checksums.write_sealed_json(folder, "manifest", record)
        try:
            manifest.read(folder, 1, "a")
        except StateError as error:
            assert "manifest.json" in str(error)
            refused += 1
    assert refused > 10
