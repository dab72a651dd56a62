"""What a workdir says of its network is sealed, and fits the network."""

import json

import numpy as np
import pytest
from support import tiny_nets

from packnet_tf.errors import StateError
from packnet_tf.options.network import NetworkOptions
from packnet_tf.storage import checksums, states
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.evaluate import evaluate_tasks
from packnet_tf.workflow.verify import verify

NETWORK = NetworkOptions(
    network="cnn", weights="none", image_size=tiny_nets.SIZE
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    workdir = Workdir(tmp_path_factory.mktemp("run") / "w")
    workdir.create(NETWORK)
    states.commit(workdir, tiny_nets.packed_net(("a",)))
    return workdir


@pytest.fixture
def workdir(made, tmp_path):
    return tiny_nets.copy_of(made, tmp_path / "w")


def change(workdir, change_facts):
    record = json.loads(workdir.run_path.read_bytes())
    change_facts(record["facts"])
    workdir.run_path.write_bytes(checksums.json_bytes(record))


def without_seals(workdir):
    """Makes a workdir one of an early release."""
    for folder in workdir.state_folders():
        record = checksums.read_sealed_json(folder, "manifest")
        del record["run"]
        checksums.write_sealed_json(folder, "manifest", record)


FACTS = sorted(vars(NETWORK))


@pytest.mark.parametrize("fact", FACTS)
def test_a_fact_that_is_missing_is_named_by_its_file(workdir, fact):
    change(workdir, lambda facts: facts.pop(fact))
    with pytest.raises(StateError, match="run.json is not what it was when"):
        evaluate_tasks(workdir)
    (failed,) = [f.text for f in verify(workdir).findings if not f.ok]
    assert "run.json is not what it was when" in failed
    assert "apps/add_task.py" in failed


def test_any_changed_byte_is_noticed(workdir):
    written = workdir.run_path.read_bytes()
    random = np.random.default_rng(0)
    for place in random.choice(len(written), 60, replace=False):
        content = bytearray(written)
        content[place] ^= 1 << int(random.integers(8))
        workdir.run_path.write_bytes(content)
        with pytest.raises(StateError, match=r"run\.json"):
            assert workdir.run
    workdir.run_path.write_bytes(written)
    assert workdir.run == NETWORK


def test_a_lost_file_is_written_again_from_the_same_flags_alone(workdir):
    written = workdir.run_path.read_bytes()
    workdir.run_path.unlink()
    with pytest.raises(StateError, match="would not be what it was when"):
        workdir.create(NetworkOptions())
    assert not workdir.run_path.exists()
    workdir.create(NETWORK)
    assert workdir.run_path.read_bytes() == written


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"image_size": 29}, "image_size=29, and the network has 12"),
        ({"private": "frozen"}, "private='frozen', and the network has"),
        ({"depthwise": "masked"}, "depthwise='masked', and the network has"),
    ],
)
def test_an_early_workdir_fits_its_network(workdir, facts, says):
    without_seals(workdir)
    change(workdir, lambda known: known.update(facts))
    with pytest.raises(StateError, match=f"run.json is damaged: it has {says}"):
        evaluate_tasks(workdir)
    assert any(says in f.text for f in verify(workdir).findings if not f.ok)


def test_an_early_workdir_without_an_image_size_is_refused(workdir):
    without_seals(workdir)
    change(workdir, lambda facts: facts.pop("image_size"))
    with pytest.raises(StateError, match="image_size=224, and the network has"):
        evaluate_tasks(workdir)


def test_an_early_workdir_is_sealed_by_its_next_state(workdir):
    without_seals(workdir)
    before = workdir.run_path.read_bytes()
    net, state = states.load(workdir)
    assert state.manifest.run is None
    tiny_nets.add_packed(net, "b")
    state = states.commit(workdir, net)
    assert workdir.run_path.read_bytes() == before
    assert state.manifest.run == checksums.digest_of_file(workdir.run_path)
    change(workdir, lambda facts: facts.update(base_task="other"))
    with pytest.raises(StateError, match="when .*002-b was packed"):
        assert workdir.run


def test_an_older_state_is_read_though_the_newest_is_damaged(workdir):
    net, _ = states.load(workdir)
    tiny_nets.add_packed(net, "b")
    folder = states.commit(workdir, net).path
    (folder / "manifest.json").unlink()
    assert workdir.run == NETWORK
    assert states.load(workdir, 1)[1].name == "a"
