"""Workdirs of every release are read for ever; these were kept."""

import json
import pathlib
import tarfile

import numpy as np
import pytest
import tensorflow as tf
from support import tiny_nets
from support.kept_files import needs_keras
from support.tiny_runs import make_images

from packnet_tf.data import open_task
from packnet_tf.model.replicas import make_strategy
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.serving import ServingConfig
from packnet_tf.options.task import TaskOptions
from packnet_tf.storage import checkpoints, checksums, golden, states
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.run_config import network_options_of
from packnet_tf.workflow.session import Session
from packnet_tf.workflow.verify import verify

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"
# The tasks of each, as they are called now, and what every state answers.
KEPT = {
    "workdir_schema_1": ("colours", "shades"),
    "workdir_schema_2": ("colours", "shades"),
    # An own network with every kind of layer; `hues` was renamed and `more`
    # is in training.
    "workdir_v0_1": ("letters", "hues", "shades"),
}
# Written anew when a workdir has moved, or by every writer.
NOT_KEPT = ("lock", "models.config")


def unpacked(name, folder):
    with tarfile.open(FIXTURES / f"{name}.tar.xz") as archive:
        # Our own file; the first releases of Python 3.11 know no `filter`.
        archive.extractall(folder)
    (first, *_) = sorted((folder / "w" / "states").iterdir())
    manifest = json.loads((first / "manifest.json").read_bytes())
    needs_keras(manifest["versions"]["keras"])
    return Workdir(folder / "w")


@pytest.fixture(params=KEPT)
def kept(request, tmp_path):
    """A workdir and the names of its tasks."""
    return unpacked(request.param, tmp_path), KEPT[request.param]


def written(workdir):
    """Returns the digests of all packed files of a workdir."""
    return {
        name: digest
        for name, digest in checksums.digests_below(workdir.path).items()
        if not name.startswith("training/")
        and pathlib.Path(name).name not in NOT_KEPT
    }


def test_it_is_verified(kept):
    workdir, names = kept
    report = verify(workdir)
    assert report.ok, str(report)
    # Tasks of all states, by their networks and SavedModels.
    asked = 2 * sum(range(1, len(names) + 1))
    assert sum("probe, " in f.text for f in report.findings) == asked


def test_its_tasks_answer_and_more_are_added(kept):
    workdir, names = kept
    files = written(workdir)
    net, state = states.load(workdir)
    assert [task.name for task in net.tasks] == [*names]
    images, logits = golden.read_probe(state)
    program = state.manifest.probe
    before = golden.probe_logits(net, images, program)
    for name in names:
        # Bytes are for the machine that wrote them.
        assert np.abs(before[name] - logits[name]).max() < 1e-4
    tiny_nets.add_packed(net, "new")
    states.commit(workdir, net, probe_images=images)
    read, state = states.load(workdir)
    assert state.manifest.schema == 2
    after = golden.probe_logits(read, images, program)
    for name in names:
        assert after[name].tobytes() == before[name].tobytes()
    assert files.items() <= written(workdir).items()


def test_its_saved_models_answer_as_their_states(kept):
    workdir, names = kept
    for state in workdir.states():
        images, _ = golden.read_probe(state)
        net, _ = states.load(workdir, state.number)
        expected = golden.probe_logits(net, images)
        assert [*expected] == [*names[: state.number]]
        folder = workdir.serving_path / "packnet" / str(state.number)
        served = tf.saved_model.load(str(folder))
        for name, logits in expected.items():
            found = served.signatures[name](images=tf.constant(images))
            assert found["logits"].numpy().tobytes() == logits.tobytes()


@pytest.mark.slow
def test_a_task_in_training_is_finished_and_the_next_added(tmp_path):
    workdir = unpacked("workdir_v0_1", tmp_path)
    files = written(workdir)
    net, state = states.load(workdir)
    images, _ = golden.read_probe(state)
    before = golden.probe_logits(net, images)
    record = checkpoints.read_record(workdir.training_path)
    assert record.done == ["train", "prune"]
    for number, name in enumerate(("more", "new"), start=4):
        folder = make_images(
            tmp_path / name, ("one", "two", "three"), train=8, test=3, seed=2
        )
        said = []
        session = Session(
            workdir,
            network_options_of(workdir, {}),
            ServingConfig(),
            make_strategy(1),
            said.append,
        )
        options = TaskOptions(
            task=name, batch_size=8, train_epochs=1, retrain_epochs=2
        )
        session.run(open_task(name, folder), options)
        assert any("done before" in line for line in said) == (name == "more")
        net, state = states.load(workdir)
        assert (state.number, state.name) == (number, name)
        after = golden.probe_logits(net, images)
        for task, logits in before.items():
            assert after[task].tobytes() == logits.tobytes()
    report = verify(workdir)
    assert report.ok, str(report)
    assert files.items() <= written(workdir).items()


def test_a_recovery_of_the_base_task_is_gone_on_with(tmp_path):
    """Release 0.1 was stopped after the first of two epochs."""
    with tarfile.open(FIXTURES / "recovery_v0_1.tar.xz") as archive:
        archive.extractall(tmp_path)
    needs_keras("3.15")
    folder = make_images(
        tmp_path / "images", ("one", "two", "three"), train=8, test=3, seed=2
    )
    options = NetworkOptions(
        network=str(tmp_path / "own.keras"),
        image_size=16,
        base_task="letters",
        base_recovery="distill",
        base_recovery_epochs=2,
        base_prune_fraction=0.5,
    )
    task = TaskOptions(
        task="more", batch_size=8, train_epochs=1, retrain_epochs=1
    )
    said = []
    workdir = Workdir(tmp_path / "w")
    session = Session(
        workdir, options, ServingConfig(), make_strategy(1), said.append
    )
    session.run(open_task("more", folder), task)
    assert "  going on after epoch 1" in said
    net, state = states.load(workdir)
    assert [task.name for task in net.tasks] == ["letters", "more"]
    report = verify(workdir)
    assert report.ok, str(report)


def test_there_is_one_of_each_kind():
    found = sorted(FIXTURES.glob("workdir_*.tar.xz"))
    assert [path.name.split(".")[0] for path in found] == sorted(KEPT)
    assert all(path.stat().st_size < 300_000 for path in found)
