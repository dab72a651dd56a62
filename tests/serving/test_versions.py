import os

import numpy as np
import pytest
import tensorflow as tf
from support import tiny_nets

from packnet_tf import atomic_files
from packnet_tf.data.images.pixel_path import read_for_evaluation
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.errors import StateError
from packnet_tf.options.serving import ServingConfig
from packnet_tf.serving.models_config import stable_version
from packnet_tf.serving.saved_model import export_saved_model
from packnet_tf.serving.versions import config_of, publish, recover
from packnet_tf.storage import checksums, states
from packnet_tf.storage.workdir import Workdir


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workdir of two states, both published."""
    return tiny_nets.packed_workdir(
        tmp_path_factory.mktemp("publish") / "w", ("a", "b")
    )


@pytest.fixture
def workdir(made, tmp_path):
    """A copy of it, for the test to do with what it wants."""
    return tiny_nets.copy_of(made, tmp_path / "w")


def test_versions_are_numbers_with_a_config_beside(made):
    folder = made.serving_path / "net"
    assert sorted(os.listdir(folder)) == ["1", "2", "models.config"]
    config = (folder / "models.config").read_text()
    assert 'name: "net"' in config
    assert f'base_path: "{folder.absolute()}"' in config
    assert 'model_platform: "tensorflow"' in config
    assert checksums.check_seal(folder / "2") == []


def test_a_version_answers_as_its_state(workdir):
    net, _ = states.load(workdir)
    served = tf.saved_model.load(workdir.serving_path / "net" / "2")
    batch = tiny_nets.images()
    for name in ("a", "b"):
        found = served.signatures[name](images=tf.constant(batch))["logits"]
        expected = tiny_nets.graph_logits(net, name, batch)
        assert found.numpy().tobytes() == expected.tobytes()


def test_files_are_read_as_the_manifest_says(tmp_path):
    """A task's own crop is inside its signature of encoded images."""
    how = Preprocessing(resize="squash", crop="none")
    workdir = Workdir(tmp_path / "w")
    net = tiny_nets.packed_net(("a",))
    state = states.commit(workdir, net, facts={"data": how.to_facts()})
    path = publish(workdir, state, ServingConfig("net", "on_the_fly"))
    signatures = tf.saved_model.load(path).signatures
    pixels = np.random.default_rng(0).integers(0, 256, (9, 30, 3), np.uint8)
    content = tf.io.encode_png(pixels).numpy()
    found = signatures["a_bytes"](image_bytes=tf.constant([content]))
    answers = [
        signatures["a"](
            images=read_for_evaluation(content, tiny_nets.SIZE, way)[None]
        )["logits"].numpy()
        for way in (how, Preprocessing())
    ]
    assert found["logits"].numpy().tobytes() == answers[0].tobytes()
    assert found["logits"].numpy().tobytes() != answers[1].tobytes()


def test_the_label_of_a_version_that_went_is_moved(workdir):
    folder = workdir.serving_path / "net"
    assert stable_version(folder) == 1
    os.rename(workdir.states_path / "002-b", workdir.path / "away")
    recover(workdir, ServingConfig("net"))
    config = (folder / "models.config").read_text()
    assert "versions: 1\n" in config and "versions: 2\n" not in config


def test_nothing_to_recover(workdir):
    assert recover(workdir, ServingConfig("net")) == []
    assert recover(Workdir(workdir.path / "new"), ServingConfig("net")) == []


def test_leftovers_of_interrupted_writing_go(workdir):
    for place in (
        workdir.path / ".run.json.1.aside",
        workdir.states_path / ".003-c.1.aside" / "x",
        workdir.serving_path / "net" / ".3.1.aside" / "variables",
    ):
        place.mkdir(parents=True)
    assert len(workdir.states()) == 2
    done = recover(workdir, ServingConfig("net"))
    assert [line.split()[0] for line in done] == ["removed"] * 3
    assert sorted(os.listdir(workdir.states_path)) == ["001-a", "002-b"]
    assert sorted(os.listdir(workdir.serving_path / "net")) == [
        "1",
        "2",
        "models.config",
    ]


def test_a_state_without_its_version_is_exported_again(workdir):
    folder = workdir.serving_path / "net"
    os.rename(folder / "2", workdir.path / "away")
    (done,) = recover(workdir, ServingConfig("net"))
    assert "exported" in done and str(folder / "2") in done
    assert checksums.check_seal(folder / "2") == []


def test_a_version_that_is_gone_gets_the_layout_of_the_newest(workdir):
    folder = workdir.serving_path / "net"
    for version in ("1", "2"):
        atomic_files.remove_folder(folder / version)
    publish(workdir, workdir.state(2), ServingConfig("net", "on_the_fly"))
    recover(workdir, config_of(folder))
    assert checksums.read_seal(folder / "1").layout == "on_the_fly"
    atomic_files.remove_folder(folder / "1")
    recover(workdir, ServingConfig("net", "folded"))
    assert checksums.read_seal(folder / "1").layout == "folded"


def test_a_version_without_its_state_is_removed(workdir):
    folder = workdir.serving_path / "net"
    os.rename(workdir.states_path / "002-b", workdir.path / "away")
    (folder / "17").mkdir()
    (done,) = recover(workdir, ServingConfig("net"))
    assert "removed" in done and str(folder / "2") in done
    # What we did not write is not ours to remove.
    assert sorted(os.listdir(folder)) == ["1", "17", "models.config"]


def test_a_version_of_another_state_is_exported_again(workdir):
    folder = workdir.serving_path / "net"
    os.rename(folder / "2", workdir.path / "away")
    other = tiny_nets.packed_net(("a", "b"), seed=8)
    export_saved_model(other, folder / "2")
    removed, exported = recover(workdir, ServingConfig("net"))
    assert "removed" in removed and "exported" in exported
    net, _ = states.load(workdir)
    record = checksums.read_seal(folder / "2")
    assert record.tasks[1].digest == net.task("b").digest


def test_a_name_that_is_no_folder_is_refused(workdir):
    with pytest.raises(StateError, match="'../x'"):
        publish(workdir, workdir.newest(), ServingConfig("../x"))
