"""Removing, renaming and rolling back on disk; older files keep their bytes."""

import functools
import hashlib
import json
import os
import re

import pytest
import tensorflow as tf
from support import tiny_nets

from packnet_tf import atomic_files
from packnet_tf.errors import PhaseError, StateError, TaskError
from packnet_tf.options.serving import ServingConfig
from packnet_tf.serving.models_config import (
    stable_version,
    versions_of,
    write_config,
)
from packnet_tf.serving.versions import publish
from packnet_tf.storage import checkpoints, checksums, states
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow import undo
from packnet_tf.workflow.verify import verify


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workdir of three states, all published."""
    return tiny_nets.packed_workdir(
        tmp_path_factory.mktemp("undo") / "w",
        ("a", "b", "c"),
        probe_images=tiny_nets.images(2),
    )


@pytest.fixture
def workdir(made, tmp_path):
    return tiny_nets.copy_of(made, tmp_path / "w")


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def names_of(workdir):
    return [[task.name for task in s.tasks] for s in workdir.states()]


def versions(workdir):
    return sorted(p.name for p in (workdir.serving_path / "net").iterdir())


def begin(workdir, name="d"):
    """Leaves a checkpoint of a task in training."""
    net, _ = states.load(workdir)
    net.add_task(name, 2)
    checkpoints.save(
        workdir.training_path, net, checkpoints.TrainingRecord(name)
    )


def test_the_newest_task_goes_and_older_files_stay(workdir):
    before = contents(workdir.path)
    undo.remove_task(workdir, "c")
    gone = ("states/003", "serving/net/3/")
    # Who holds the lock, and which versions are to be served.
    written = ("lock", "serving/net/models.config")
    after = contents(workdir.path)
    assert after == {
        name: digest
        for name, digest in before.items()
        if not name.startswith(gone)
    } | {name: after[name] for name in written}
    config = workdir.serving_path / "net" / "models.config"
    assert "versions: 2\n" in config.read_text()
    assert "3" not in re.sub("base_path.*", "", config.read_text())
    assert versions(workdir) == ["1", "2", "models.config"]
    assert verify(workdir).ok
    # The next task gets the weights and the number.
    net, _ = states.load(workdir)
    tiny_nets.add_packed(net, "e")
    state = states.commit(workdir, net)
    publish(workdir, state, ServingConfig("net"))
    assert names_of(workdir)[-1] == ["a", "b", "e"]
    assert verify(workdir).ok


def test_only_the_newest_is_removed(workdir):
    before = contents(workdir.states_path)
    with pytest.raises(TaskError, match="'a' is not the newest.*remove 'c'"):
        undo.remove_task(workdir, "a")
    with pytest.raises(TaskError, match="Unknown task 'x'.*a, b, c"):
        undo.remove_task(workdir, "x")
    assert contents(workdir.states_path) == before
    with pytest.raises(StateError, match="no packed state"):
        undo.remove_task(Workdir(workdir.path / "new"), "a")


def test_the_only_task_is_removed_too(workdir):
    first = contents(workdir.states_path / "001-a")
    undo.roll_back(workdir, "a")
    done = undo.remove_task(workdir, "a")
    assert done[0] == f"removed {workdir.states_path / '001-a'}"
    assert names_of(workdir) == []
    assert not workdir.origin_path.exists()
    assert versions(workdir) == []
    # The task may be added again.
    net = tiny_nets.packed_net(("a",))
    state = states.commit(workdir, net, probe_images=tiny_nets.images(2))
    publish(workdir, state, ServingConfig("net"))
    assert contents(workdir.states_path / "001-a").keys() == first.keys()
    assert verify(workdir).ok


def test_no_other_task_goes_with_the_newest_where_states_are_missing(workdir):
    for name in ("001-a", "002-b"):
        atomic_files.remove_folder(workdir.states_path / name)
    with pytest.raises(StateError, match="would lose a, b too; restore it"):
        undo.remove_task(workdir, "c")


def test_a_new_name_goes_with_its_task(workdir):
    net, state = states.load(workdir)
    undo.rename_task(workdir, "c", "cars")
    undo.rename_task(workdir, "a", "ants")
    undo.remove_task(workdir, "cars")
    # A task that is trained to the same bytes again has the same digest.
    assert set(workdir.names) == {state.task("a").digest}
    net.task("a").name = "ants"
    states.commit(workdir, net)
    assert names_of(workdir)[-1] == ["ants", "b", "c"]


def test_renaming_speaks_of_no_removed_version(workdir):
    done = undo.rename_task(workdir, "b", "bees")
    folder = workdir.serving_path / "net"
    assert done == [
        "renamed b to bees",
        f"exported {folder / '2'} under the new names",
        f"exported {folder / '3'} under the new names",
    ]


def test_a_state_that_is_missing_takes_no_task_with_it(workdir):
    atomic_files.remove_folder(workdir.states_path / "002-b")
    before = contents(workdir.states_path)
    with pytest.raises(StateError, match="has no state 002, .* lose b too"):
        undo.remove_task(workdir, "c")
    assert contents(workdir.states_path) == before
    undo.roll_back(workdir, "a")
    assert names_of(workdir) == [["a"]]


def test_a_task_in_training_is_dropped_first(workdir):
    begin(workdir)
    with pytest.raises(PhaseError, match="'d' is in training"):
        undo.remove_task(workdir, "c")
    with pytest.raises(TaskError, match="'d' is in training"):
        undo.rename_task(workdir, "d", "e")
    with pytest.raises(TaskError, match="'d' exists already"):
        undo.rename_task(workdir, "a", "d")
    before = contents(workdir.states_path)
    undo.remove_task(workdir, "d")
    assert checkpoints.read_record(workdir.training_path) is None
    assert contents(workdir.states_path) == before


def test_nothing_goes_when_what_stays_is_damaged(workdir):
    path = workdir.states_path / "002-b" / "net.keras"
    path.write_bytes(path.read_bytes()[:-1])
    before = contents(workdir.states_path)
    with pytest.raises(StateError, match="002-b/net.keras"):
        undo.remove_task(workdir, "c")
    assert contents(workdir.states_path) == before
    undo.roll_back(workdir, 1)
    assert names_of(workdir) == [["a"]]


@pytest.mark.parametrize("which", [1, "a"])
def test_rolling_back(workdir, which):
    begin(workdir)
    before = contents(workdir.states_path / "001-a")
    done = undo.roll_back(workdir, which)
    assert "dropped the task in training" in done
    assert names_of(workdir) == [["a"]]
    assert contents(workdir.states_path / "001-a") == before
    assert versions(workdir) == ["1", "models.config"]
    assert verify(workdir).ok
    with pytest.raises(StateError, match="no packed state 'b'.*001-a"):
        undo.roll_back(workdir, "b")


def test_rolling_back_behind_damaged_states(workdir):
    (workdir.states_path / "003-c" / "manifest.json").write_text("{")
    (workdir.states_path / "002-b" / "manifest.sha256").unlink()
    with pytest.raises(StateError, match="manifest.sha256"):
        undo.roll_back(workdir, 2)
    undo.roll_back(workdir, 1)
    assert names_of(workdir) == [["a"]] and verify(workdir).ok


@pytest.mark.parametrize("kill", range(4))
def test_interrupted_rolling_back_is_finished_by_the_same_call(
    workdir, monkeypatch, kill
):
    begin(workdir)
    real, calls = os.rename, []

    def rename(*args):
        calls.append(args)
        if len(calls) > kill:
            raise KeyboardInterrupt
        real(*args)

    monkeypatch.setattr(atomic_files.os, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        undo.roll_back(workdir, 1)
    monkeypatch.undo()
    # Whatever is left is right in itself: the newest go first.
    assert names_of(workdir) in (
        [["a"], ["a", "b"], ["a", "b", "c"]],
        [["a"], ["a", "b"]],
        [["a"]],
    )
    undo.roll_back(workdir, 1)
    assert names_of(workdir) == [["a"]] and verify(workdir).ok


@pytest.mark.parametrize("kill", [1, 2])
@pytest.mark.parametrize("change", ["remove", "rename"])
def test_an_interrupted_change_is_finished_by_the_same_call(
    workdir, monkeypatch, change, kill
):
    def call():
        if change == "remove":
            return undo.remove_task(workdir, "c")
        return undo.rename_task(workdir, "c", "cars")

    real, calls = {"rename": os.rename, "replace": os.replace}, []

    def move(name, *args):
        calls.append(args)
        if len(calls) > kill:
            raise KeyboardInterrupt
        real[name](*args)

    for name in real:
        monkeypatch.setattr(
            atomic_files.os, name, functools.partial(move, name)
        )
    with pytest.raises(KeyboardInterrupt):
        call()
    monkeypatch.undo()
    assert "before" in "".join(call())
    left = 2 if change == "remove" else 3
    assert names_of(workdir)[-1] == ["a", "b", "cars"][:left]
    assert versions(workdir) == [*"123"[:left], "models.config"]
    assert verify(workdir).ok
    # Nothing is left to be done.
    with pytest.raises(TaskError, match="Unknown task 'c'"):
        call()


def test_renaming_touches_no_state(workdir):
    before = contents(workdir.states_path)
    images = tiny_nets.images()
    net, _ = states.load(workdir)
    expected = tiny_nets.graph_logits(net, "b", images).tobytes()
    undo.rename_task(workdir, "b", "bees")
    undo.rename_task(workdir, "a", "b")
    assert contents(workdir.states_path) == before
    assert names_of(workdir) == [["b"], ["b", "bees"], ["b", "bees", "c"]]
    assert workdir.state("bees").number == 2
    report = verify(workdir)
    assert report.ok, str(report)
    assert any("bees: probe, same" in str(f) for f in report.findings)
    net, _ = states.load(workdir)
    assert [task.name for task in net.tasks] == ["b", "bees", "c"]
    found = tiny_nets.graph_logits(net, "bees", images).tobytes()
    assert found == expected
    served = tf.saved_model.load(workdir.serving_path / "net" / "3")
    assert {"b", "bees", "c"} < set(served.signatures)
    found = served.signatures["bees"](images=tf.constant(images))["logits"]
    assert found.numpy().tobytes() == expected
    # The names go on with the tasks, and those of removed ones do not stay.
    tiny_nets.add_packed(net, "a")
    states.commit(workdir, net)
    assert names_of(workdir)[-1] == ["b", "bees", "c", "a"]


def test_renaming_keeps_layouts_and_the_label_stable(workdir):
    folder = workdir.serving_path / "net"
    atomic_files.remove_folder(folder / "2")
    publish(workdir, workdir.state(2), ServingConfig("net", "on_the_fly"))
    write_config(folder, versions_of(folder), stable=2)
    undo.rename_task(workdir, "a", "ants")
    layouts = [checksums.read_seal(folder / v).layout for v in "123"]
    assert layouts == ["folded", "on_the_fly", "folded"]
    assert stable_version(folder) == 2


def test_names_that_cannot_be(workdir):
    for old, new, match in (
        ("x", "y", "Unknown task 'x'"),
        ("a", "b", "'b' exists already"),
        ("a", "../b", "file and signature name"),
    ):
        with pytest.raises(TaskError, match=match):
            undo.rename_task(workdir, old, new)
    assert not workdir.names_path.exists()


def test_damaged_names_are_named(workdir):
    undo.rename_task(workdir, "b", "bees")
    good = workdir.names_path.read_bytes()
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1
        workdir.names_path.write_bytes(bytes(bad))
        with pytest.raises(StateError, match="names.json is damaged"):
            workdir.states()
    digest = workdir.read_state
    workdir.names_path.write_bytes(good)
    tasks = digest(workdir.states_path / "002-b").tasks
    undo.write_names(workdir.names_path, {task.digest: "one" for task in tasks})
    with pytest.raises(StateError, match="two tasks of .*002-b one name"):
        workdir.states()
    assert json.loads(good)["names"] == {tasks[1].digest: "bees"}


def test_a_state_that_goes_while_it_is_read_is_no_error(workdir, monkeypatch):
    """A reader lists the states; before it reads them, one is removed."""
    read = Workdir.read_state

    def remove_and_read(reader, folder):
        monkeypatch.setattr(Workdir, "read_state", read)
        undo.remove_task(Workdir(workdir.path), "c")
        return read(reader, folder)

    monkeypatch.setattr(Workdir, "read_state", remove_and_read)
    assert [state.number for state in workdir.states()] == [1, 2]
