"""The record of dropped states, over folders whose content does not matter."""

import json
import os

import pytest

from packnet_tf import atomic_files
from packnet_tf.errors import StateError
from packnet_tf.storage import checksums, retention
from packnet_tf.storage.workdir import Workdir


@pytest.fixture
def workdir(tmp_path):
    for name in ("001-a", "002-b", "003-c", "004-d"):
        (tmp_path / "states" / name).mkdir(parents=True)
    return Workdir(tmp_path)


def folders(workdir):
    return [folder.name for folder in workdir.state_folders()]


def stop_after(monkeypatch, count):
    """Interrupts the removal of a folder after some others."""
    real, calls = atomic_files.remove_folder, []

    def remove(path):
        calls.append(path)
        if len(calls) > count:
            raise KeyboardInterrupt
        real(path)

    monkeypatch.setattr(atomic_files, "remove_folder", remove)


@pytest.mark.parametrize("count", [0, 1])
def test_an_interrupted_removal_is_finished_once(workdir, monkeypatch, count):
    with monkeypatch.context() as patch:
        stop_after(patch, count)
        with pytest.raises(KeyboardInterrupt):
            retention.drop(workdir, 2, ())
    assert len(retention.finish(workdir)) == 2 - count
    assert folders(workdir) == ["003-c", "004-d"]
    # One that is there again was put back, and is missed when it is lost.
    os.mkdir(workdir.states_path / "002-b")
    assert retention.finish(workdir) == []
    assert folders(workdir) == ["002-b", "003-c", "004-d"]
    assert retention.dropped(workdir) == {1}
    # Dropping goes on with it.
    assert retention.drop(workdir, 2, ())
    assert folders(workdir) == ["003-c", "004-d"]
    assert retention.dropped(workdir) == {1, 2}


def test_the_newest_is_never_removed(workdir):
    retention._note(workdir, {3, 4}, {3, 4})
    assert len(retention.finish(workdir)) == 1
    assert folders(workdir) == ["001-a", "002-b", "004-d"]
    assert retention.dropped(workdir) == {3}


def test_states_that_are_undone_were_not_dropped(workdir):
    retention.drop(workdir, 2, (1,))
    for folder in workdir.state_folders()[1:]:
        atomic_files.remove_folder(folder)
    assert retention.finish(workdir) == []
    assert retention.dropped(workdir) == set()


def test_a_record_of_an_early_release_removes_nothing(workdir):
    old = {"states": [1, 2], "sha256": checksums.checksum((1, 2))}
    workdir.dropped_path.write_text(json.dumps(old))
    assert retention.dropped(workdir) == {1, 2}
    assert retention.finish(workdir) == []
    assert len(folders(workdir)) == 4


def test_a_state_to_be_removed_is_under_the_checksum(workdir):
    retention._note(workdir, {1, 2}, {1})
    content = workdir.dropped_path.read_bytes()
    start = content.index(b"pending")
    for place in range(start, content.index(b"]", start)):
        bad = bytearray(content)
        bad[place] ^= 1
        workdir.dropped_path.write_bytes(bytes(bad))
        with pytest.raises(StateError, match="damaged"):
            retention.finish(workdir)
