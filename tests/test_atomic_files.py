import errno
import os

import pytest

from packnet_tf import atomic_files
from packnet_tf.errors import StateError


def test_a_folder_appears_whole(tmp_path):
    path = tmp_path / "x" / "2"
    with atomic_files.whole_folder(path) as aside:
        (aside / "below").mkdir()
        (aside / "below" / "file").write_bytes(b"1")
        assert not path.exists()
        assert aside.parent == path.parent and aside.name.startswith(".")
    assert (path / "below" / "file").read_bytes() == b"1"
    assert os.listdir(path.parent) == ["2"]


def test_new_folders_and_removals_are_forced_to_the_disk(tmp_path, monkeypatch):
    forced, real = [], atomic_files._sync

    def sync(path):
        forced.append(path)
        real(path)

    monkeypatch.setattr(atomic_files, "_sync", sync)
    atomic_files.write_file(tmp_path / "x" / "y" / "file", b"1")
    assert {tmp_path, tmp_path / "x", tmp_path / "x" / "y"} <= set(forced)
    forced.clear()
    atomic_files.remove_file(tmp_path / "x" / "y" / "file")
    assert forced == [tmp_path / "x" / "y"]
    atomic_files.remove_file(tmp_path / "x" / "y" / "file")


@pytest.mark.parametrize("target", ["there", "nowhere"])
def test_a_link_is_not_overwritten(tmp_path, target):
    (tmp_path / "there").mkdir()
    link = tmp_path / "2"
    link.symlink_to(tmp_path / target)
    with pytest.raises(StateError, match="2 exists already"):
        atomic_files.check_absent(link)


def test_a_folder_is_absent_after_an_error(tmp_path):
    with (
        pytest.raises(KeyError),
        atomic_files.whole_folder(tmp_path / "2") as aside,
    ):
        (aside / "file").write_bytes(b"1")
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_a_folder_is_never_overwritten(tmp_path):
    (tmp_path / "2").mkdir()
    with (
        pytest.raises(StateError, match="exists already"),
        atomic_files.whole_folder(tmp_path / "2"),
    ):
        pass


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_a_full_disk_names_the_folder_and_leaves_nothing(
    tmp_path, monkeypatch, step
):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        pytest.raises(StateError, match="2: .*No space left"),
        atomic_files.whole_folder(tmp_path / "2") as aside,
    ):
        (aside / "file").write_bytes(b"1")
        monkeypatch.setattr(os, step, full)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def test_a_file_is_replaced_whole(tmp_path, monkeypatch):
    path = tmp_path / "file"
    atomic_files.write_file(path, b"old")
    atomic_files.write_file(path, b"new")
    assert path.read_bytes() == b"new"

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError, match="file: .*No space left"):
        atomic_files.write_file(path, b"newer")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_is_replaced_under_a_name_that_ends_as_asked(tmp_path):
    with (
        pytest.raises(StateError, match=r"\(No space left on device\)"),
        atomic_files.replaced_file(tmp_path / "n.keras", ".keras") as aside,
    ):
        aside.write_bytes(b"1")
        assert aside.suffix == ".keras" and atomic_files.is_leftover(aside)
        raise OSError(errno.ENOSPC, "time = now\nerrno = 28")
    assert os.listdir(tmp_path) == []


def test_leftovers_are_removed_and_nothing_else(tmp_path):
    (tmp_path / ".2.123.aside").mkdir()
    (tmp_path / ".2.123.aside" / "file").touch()
    (tmp_path / ".run.json.9.aside").touch()
    (tmp_path / ".hidden").touch()
    (tmp_path / "2.aside").touch()
    removed = atomic_files.remove_leftovers(tmp_path)
    assert removed == [".2.123.aside", ".run.json.9.aside"]
    assert sorted(os.listdir(tmp_path)) == [".hidden", "2.aside"]
    assert atomic_files.remove_leftovers(tmp_path / "missing") == []


def test_a_file_that_cannot_be_removed_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    atomic_files.remove_file(tmp_path / "file")
    atomic_files.remove_file(tmp_path / "file")
    assert not (tmp_path / "file").exists()
    (tmp_path / "folder").mkdir()
    with pytest.raises(StateError, match="folder: cannot be written"):
        atomic_files.remove_file(tmp_path / "folder")


def test_of_a_link_only_the_link_goes(tmp_path):
    states, elsewhere = tmp_path / "states", tmp_path / "elsewhere"
    states.mkdir()
    (elsewhere / "below").mkdir(parents=True)
    (states / "2").symlink_to(elsewhere)
    atomic_files.remove_folder(states / "2")
    assert os.listdir(states) == []
    (states / ".2.123.aside").symlink_to(elsewhere)
    assert atomic_files.remove_leftovers(states) == [".2.123.aside"]
    assert os.listdir(states) == []
    # A process of the same number left one.
    (states / f".2.{os.getpid()}.aside").symlink_to(elsewhere)
    (states / "2").mkdir()
    atomic_files.remove_folder(states / "2")
    assert os.listdir(states) == []
    assert os.listdir(elsewhere) == ["below"]


def test_remove_folder(tmp_path):
    (tmp_path / "2" / "below").mkdir(parents=True)
    atomic_files.remove_folder(tmp_path / "2")
    assert os.listdir(tmp_path) == []
    with pytest.raises(StateError, match="3"):
        atomic_files.remove_folder(tmp_path / "3")
