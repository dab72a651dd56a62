import copy

import pytest

from packnet_tf.errors import StateError
from packnet_tf.storage import checksums, manifest

DIGEST = "0" * 64
RECORD = {
    "number": 1,
    "name": "a",
    "tasks": [
        {
            "name": "a",
            "owner": 1,
            "classes": 2,
            "class_names": None,
            "digest": DIGEST,
        }
    ],
    "machine": {},
    "versions": {},
    "probe": "open batch",
    "origin": None,
}


@pytest.fixture
def folder(tmp_path):
    for name in manifest.FILES:
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_round_trip_with_the_digests_of_the_files(folder):
    manifest.write(folder, RECORD)
    found = manifest.read(folder, 1, "a")
    assert {k: found[k] for k in RECORD} == RECORD
    assert found["schema"] == 2
    assert found["files"] == {
        name: checksums.digest_of_file(folder / name) for name in manifest.FILES
    }


def test_another_folder_name_is_refused(folder):
    manifest.write(folder, RECORD)
    with pytest.raises(StateError, match="001-a"):
        manifest.read(folder, 2, "a")


@pytest.mark.parametrize("schema", [99, 0, True, 1.0, "2", None])
def test_another_schema_is_refused(folder, schema):
    manifest.write(folder, RECORD)
    record = {
        **checksums.read_sealed_json(folder, "manifest"),
        "schema": schema,
    }
    checksums.write_sealed_json(folder, "manifest", record)
    with pytest.raises(StateError, match=f"schema {schema!r}, .* 1 to 2"):
        manifest.read(folder, 1, "a")


def test_the_first_schema_is_migrated(folder):
    manifest.write(folder, RECORD)
    record = {**checksums.read_sealed_json(folder, "manifest"), "schema": 1}
    del record["probe"]
    checksums.write_sealed_json(folder, "manifest", record)
    found = manifest.read(folder, 1, "a")
    assert found["schema"] == 2 and found["probe"] == "fixed batch"


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
    manifest.write(folder, RECORD)
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
