"""How many states a workdir keeps: the newest, and those that are served."""

import shutil
import types

import pytest
from support import tiny_nets

from packnet_tf.errors import FlagError, StateError, TaskError
from packnet_tf.options.serving import ServingConfig
from packnet_tf.serving import models_config
from packnet_tf.serving.export import set_stable
from packnet_tf.serving.models_config import stable_version, write_config
from packnet_tf.storage import retention, states
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow import commit, undo
from packnet_tf.workflow.verify import verify

IMAGES = tiny_nets.images(2)
PREPARED = types.SimpleNamespace(
    train=types.SimpleNamespace(epoch=lambda epoch: [(IMAGES, None)])
)


@pytest.fixture(scope="module")
def net():
    return tiny_nets.packed_net(())


def add(workdir, net, name, keep):
    tiny_nets.add_packed(net, name)
    config = ServingConfig("net", keep_states=keep)
    return commit.commit_task(workdir, config, net, PREPARED, {}, {})


def numbers(workdir):
    """Returns the states and the versions that exist."""
    versions = (workdir.serving_path / "net").glob("[0-9]*")
    return (
        [state.number for state in workdir.states()],
        sorted(int(path.name) for path in versions),
    )


def make_stable(workdir, version, there):
    write_config(workdir.serving_path / "net", there, version)


@pytest.fixture(scope="module")
def made(net, tmp_path_factory):
    """A workdir of four states that kept two, and the label's."""
    workdir = Workdir(tmp_path_factory.mktemp("keep") / "w")
    add(workdir, net, "a", 2)
    add(workdir, net, "b", 2)
    assert numbers(workdir) == ([1, 2], [1, 2])
    add(workdir, net, "c", 2)
    # The first one has the label.
    assert numbers(workdir) == ([1, 2, 3], [1, 2, 3])
    make_stable(workdir, 3, (1, 2, 3))
    add(workdir, net, "d", 2)
    return workdir


@pytest.fixture
def workdir(made, tmp_path):
    return tiny_nets.copy_of(made, tmp_path / "w")


def test_older_states_go_with_their_saved_models(workdir):
    assert numbers(workdir) == ([3, 4], [3, 4])
    assert stable_version(workdir.serving_path / "net") == 3
    report = verify(workdir)
    assert report.ok, report


def test_a_state_is_read_back_once(workdir, monkeypatch):
    read = []

    def noting(file, read_network=states.read_network):
        read.append(read_network(file))
        return read[-1]

    net = states.load(workdir)[0]
    with monkeypatch.context() as patch:
        patch.setattr(states, "read_network", noting)
        add(workdir, net, "e", 2)
    # Once, to compare it; the SavedModel is of what was compared.
    assert len(read) == 1
    assert verify(workdir).ok


def test_others_are_still_missed(workdir):
    newest = workdir.newest()
    newest.path.rename(newest.path.with_name("006-f"))
    assert "has no state 005" in str(verify(workdir))
    assert "has no state 002" not in str(verify(workdir))


def test_an_interrupted_removal_is_finished(workdir, monkeypatch):
    three = workdir.states()[0].path
    served = models_config.stable_versions(workdir.serving_path)
    with monkeypatch.context() as patch:
        patch.setattr(retention, "finish", lambda _: [])
        retention.drop(workdir, 1, served)  # 3 is served.
        retention.drop(workdir, 1, ())
    assert three.exists()
    with pytest.raises(StateError, match=r"version 3 is of a state whose remo"):
        set_stable(workdir, 3, ServingConfig("net"))
    set_stable(workdir, 4, ServingConfig("net"))
    done = commit.recover(workdir, ServingConfig("net"), "d")
    assert done[0] == f"removed {three} (--keep_states)"
    assert numbers(workdir) == ([4], [4])
    assert verify(workdir).ok


def test_a_commit_interrupted_before_is_finished_by_the_same_command(
    workdir, monkeypatch
):
    def stop(*_):
        raise KeyboardInterrupt

    net = states.load(workdir)[0]
    with monkeypatch.context() as patch:
        patch.setattr(commit.versions, "publish", stop)
        with pytest.raises(KeyboardInterrupt):
            add(workdir, net, "e", 1)
    config = ServingConfig("net", keep_states=1)
    # An older task's command does not decide about later states.
    commit.recover(workdir, config, "d")
    assert numbers(workdir) == ([3, 4, 5], [3, 4, 5])
    commit.recover(workdir, config, "e")
    # The third has the label.
    assert numbers(workdir) == ([3, 5], [3, 5])
    assert verify(workdir).ok


def test_going_back_past_them_is_refused(workdir):
    undo.remove_task(workdir, "d")
    assert numbers(workdir) == ([3], [3])
    assert verify(workdir).ok
    with pytest.raises(StateError, match=r"state 002 any more \(--keep_s"):
        undo.remove_task(workdir, "c")


def test_undo_finishes_an_interrupted_removal_first(workdir, monkeypatch):
    three, copy = workdir.states()[0].path, workdir.path / "copy"
    shutil.copytree(three, copy)
    with monkeypatch.context() as patch:
        patch.setattr(retention, "finish", lambda _: [])
        retention.drop(workdir, 1, ())
    with pytest.raises(StateError, match=r"state 003 any more \(--keep_s"):
        undo.remove_task(workdir, "d")
    assert numbers(workdir)[0] == [4]
    with pytest.raises(StateError, match="no packed state 3"):
        undo.roll_back(workdir, 3)
    # Put back, it stays, whatever comes.
    shutil.copytree(copy, three)
    undo.remove_task(workdir, "d")
    assert commit.recover(workdir, ServingConfig("net"), "d") == []
    add(workdir, states.load(workdir)[0], "e", None)
    assert numbers(workdir) == ([3, 4], [3, 4])
    assert verify(workdir).ok


def test_no_task_is_said_to_be_removed_when_old_states_are(
    workdir, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(retention, "finish", lambda _: [])
        retention.drop(workdir, 1, ())
    with pytest.raises(TaskError, match="Unknown task 'x'"):
        undo.remove_task(workdir, "x")
    assert numbers(workdir) == ([4], [4])


def test_a_state_that_is_written_again_stays(workdir):
    undo.remove_task(workdir, "d")
    retention._note(workdir, {1, 2, 4}, {4})
    add(workdir, states.load(workdir)[0], "d", None)
    assert commit.recover(workdir, ServingConfig("net"), "d") == []
    assert numbers(workdir) == ([3, 4], [3, 4])


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b'{"states": [3], "sha256": "%s"}' % (b"0" * 64)]
)
def test_a_damaged_record_removes_nothing(content, workdir):
    workdir.dropped_path.write_bytes(content)
    for use in (
        lambda: commit.recover(workdir, ServingConfig("net"), "d"),
        lambda: retention.drop(workdir, 1, ()),
    ):
        with pytest.raises(StateError, match=r"dropped.json is damaged; rest"):
            use()
    assert numbers(workdir) == ([3, 4], [3, 4])
    assert "dropped.json is damaged" in str(verify(workdir))


def test_all_are_kept_by_default_and_none_is_refused():
    assert ServingConfig().keep_states is None
    with pytest.raises(FlagError, match="--keep_states=0: expected 1 or more"):
        ServingConfig(keep_states=0)
