"""What depends on the states follows them, after an interruption too."""

import pytest
from support import tiny_nets

from packnet_tf import atomic_files
from packnet_tf.errors import StateError
from packnet_tf.options.serving import ServingConfig
from packnet_tf.serving.models_config import versions_of
from packnet_tf.serving.versions import publish
from packnet_tf.storage import checksums
from packnet_tf.workflow import commit, undo
from packnet_tf.workflow.follow import follow
from packnet_tf.workflow.verify import verify


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workdir with two served models."""
    workdir = tiny_nets.packed_workdir(
        tmp_path_factory.mktemp("follow") / "w", ("a", "b")
    )
    for state in workdir.states():
        publish(workdir, state, ServingConfig("other", "on_the_fly"))
    return workdir


@pytest.fixture
def workdir(made, tmp_path):
    return tiny_nets.copy_of(made, tmp_path / "w")


def stop(*_):
    raise KeyboardInterrupt


def interrupted(monkeypatch, place, name, call, *args):
    with monkeypatch.context() as patch:
        patch.setattr(place, name, stop)
        with pytest.raises(KeyboardInterrupt):
            call(*args)


def test_the_next_task_finishes_an_interrupted_removal(workdir, monkeypatch):
    undo.rename_task(workdir, "b", "bees")
    interrupted(monkeypatch, undo, "follow", undo.remove_task, workdir, "bees")
    assert workdir.names and not verify(workdir).ok
    commit.recover(workdir, ServingConfig("net"), "b")
    # The next task, trained to the same bytes, has its own name.
    assert workdir.names == {}
    for model in ("net", "other"):
        assert versions_of(workdir.serving_path / model).keys() == {1}
    assert verify(workdir).ok


def test_the_next_task_finishes_an_interrupted_renaming(workdir, monkeypatch):
    interrupted(
        monkeypatch, undo, "follow", undo.rename_task, workdir, "a", "ants"
    )
    commit.recover(workdir, ServingConfig("net"), "c")
    for model, layout in (("net", "folded"), ("other", "on_the_fly")):
        seal = checksums.read_seal(workdir.serving_path / model / "2")
        assert [task.name for task in seal.tasks] == ["ants", "b"]
        assert seal.layout == layout
    assert verify(workdir).ok


def test_missing_versions_have_the_layout_asked_for(workdir):
    atomic_files.remove_folder(workdir.serving_path / "net" / "2")
    follow(workdir, ServingConfig("net", "on_the_fly"))
    seal = checksums.read_seal(workdir.serving_path / "net" / "2")
    assert seal.layout == "on_the_fly"


@pytest.mark.parametrize("served", [True, False])
def test_an_interrupted_removal_of_the_only_task_is_finished(
    workdir, monkeypatch, served
):
    undo.roll_back(workdir, 1)
    if not served:
        atomic_files.remove_folder(workdir.serving_path)
    interrupted(
        monkeypatch,
        atomic_files,
        "remove_file",
        undo.remove_task,
        workdir,
        "a",
    )
    assert workdir.states() == [] and workdir.origin_path.exists()
    assert undo.remove_task(workdir, "a")[-1] == "a was removed before"
    assert not workdir.origin_path.exists()
    with pytest.raises(StateError, match="no packed state"):
        undo.remove_task(workdir, "a")
