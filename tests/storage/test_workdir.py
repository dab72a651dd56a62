import dataclasses
import errno
import json
import os
import subprocess
import sys
import textwrap

import pytest
from support import tiny_nets

from packnet_tf.errors import StateError
from packnet_tf.options.network import NetworkOptions
from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir

NETWORK = NetworkOptions(image_size=96, network_options={"alpha": 0.75})


def test_create_writes_the_facts_once(tmp_path):
    workdir = Workdir(tmp_path / "w")
    assert workdir.run is None
    assert workdir.states() == [] and workdir.newest() is None
    workdir.create(NETWORK)
    written = workdir.run_path.read_bytes()
    assert json.loads(written) == {"schema": 1, "facts": vars(NETWORK)}
    assert workdir.run == NETWORK
    workdir.create(NETWORK)
    assert workdir.run_path.read_bytes() == written


def test_another_network_is_refused_by_its_option(tmp_path):
    workdir = Workdir(tmp_path)
    sizes = dataclasses.replace(NETWORK, network_options={"sizes": (1, 2)})
    workdir.create(sizes)
    workdir.compare(sizes)
    with pytest.raises(StateError, match="image_size=96, now image_size=64"):
        workdir.create(dataclasses.replace(sizes, image_size=64))
    with pytest.raises(StateError, match="sizes"):
        workdir.create(NETWORK)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"{}", b'{"schema": 1}', b"\xff"]
)
def test_a_damaged_run_file_is_named(tmp_path, content):
    workdir = Workdir(tmp_path)
    workdir.run_path.write_bytes(content)
    with pytest.raises(StateError, match="run.json is damaged"):
        workdir.create(NETWORK)


def test_a_later_schema_is_refused(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.run_path.write_text('{"schema": 2, "facts": {}}')
    with pytest.raises(StateError, match="schema 2"):
        workdir.create(NETWORK)


def test_a_workdir_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    workdir = Workdir(tmp_path / "file" / "w")
    with pytest.raises(StateError, match="cannot be written"):
        with workdir.lock():
            pass
    with pytest.raises(StateError, match="file"):
        workdir.create(NETWORK)


def test_unknown_states_are_named(tmp_path):
    with pytest.raises(StateError, match="no packed state; add a task"):
        Workdir(tmp_path).state()
    with pytest.raises(StateError, match="'birds'.*none yet"):
        Workdir(tmp_path).state("birds")


@pytest.mark.parametrize("which", ["²", "9" * 5000, "-1", ""])
def test_what_is_no_number_is_a_name(tmp_path, which):
    (tmp_path / "states" / "001-a").mkdir(parents=True)
    with pytest.raises(StateError, match="001-a/manifest"):
        Workdir(tmp_path).state(which)


def test_one_writer_at_a_time(tmp_path):
    workdir = Workdir(tmp_path / "w")
    with workdir.lock():
        with pytest.raises(StateError, match=f"pid {os.getpid()}"):
            with Workdir(tmp_path / "w").lock():
                pass
    with workdir.lock():
        pass


def test_a_full_disk_is_no_hindrance_to_the_lock(tmp_path, monkeypatch):
    # What is in it only helps; undo makes room.
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with Workdir(tmp_path).lock():
        with pytest.raises(StateError, match="pid unknown"):
            with Workdir(tmp_path).lock():
                pass


def test_a_lock_that_links_elsewhere_is_refused(tmp_path):
    other = tmp_path / "other"
    other.write_text("precious")
    workdir = Workdir(tmp_path / "w")
    workdir.path.mkdir()
    (workdir.path / "lock").symlink_to(other)
    with pytest.raises(StateError, match="cannot be written"):
        with workdir.lock():
            pass
    assert other.read_text() == "precious"


def test_the_lock_of_a_dead_process_is_free(tmp_path):
    # The child dies by a signal, with the lock in its hands.
    script = textwrap.dedent("""
        import os, signal, sys
        from packnet_tf.storage.workdir import Workdir
        with Workdir(sys.argv[1]).lock():
            print(os.getpid(), flush=True)
            sys.stdin.readline()
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    pid = child.stdout.readline().strip()
    with pytest.raises(StateError, match=f"pid {pid}"):
        with Workdir(tmp_path).lock():
            pass
    child.communicate("\n")
    with Workdir(tmp_path).lock():
        pass


def test_a_workdir_that_is_taken_away_is_not_made_again(tmp_path):
    workdir = Workdir(tmp_path / "w")
    net = tiny_nets.packed_net(("a",))
    with workdir.lock():
        (tmp_path / "w").rename(tmp_path / "taken")
        with pytest.raises(StateError, match="w is gone.*put it back"):
            states.commit(workdir, net)
        assert not workdir.path.exists()
        # Another one in its place is not it.
        with Workdir(tmp_path / "w").lock():
            pass
        with pytest.raises(StateError, match="w is gone"):
            states.commit(workdir, net)
        (tmp_path / "w" / "lock").unlink()
        (tmp_path / "w").rmdir()
        (tmp_path / "taken").rename(tmp_path / "w")
        states.commit(workdir, net)
    assert workdir.newest().name == "a"
