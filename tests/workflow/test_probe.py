"""A run starts its head from a linear probe, and says where it ends below."""

import dataclasses
import shutil

import pytest
from support.sessions import CNN
from support.tiny_runs import make_images

from packnet_tf.data import open_task
from packnet_tf.model.replicas import make_strategy
from packnet_tf.options.serving import ServingConfig
from packnet_tf.options.task import TaskOptions
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.session import Session

OPTIONS = TaskOptions(
    task="first",
    train_epochs=1,
    retrain_epochs=1,
    batch_size=8,
    validation_share=0.3,
)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A workdir with a task that trained the network from scratch."""
    images = make_images(tmp_path_factory.mktemp("images"))
    folder = tmp_path_factory.mktemp("w")
    metrics, said = run(folder, open_task("before", images), "before")
    # Nothing was known before.
    assert "accuracy_probe" not in metrics
    assert not any("probe" in line for line in said)
    return folder, open_task("first", images)


def run(folder, data, name="first", **changes):
    said = []
    session = Session(
        Workdir(folder), CNN, ServingConfig(), make_strategy(1), said.append
    )
    options = dataclasses.replace(OPTIONS, task=name, **changes)
    return session.run(data, options).state.tasks[-1].metrics, said


@pytest.fixture
def workdir(begun, tmp_path):
    shutil.copytree(begun[0], tmp_path / "w")
    return tmp_path / "w"


def test_it_is_said_and_recorded(workdir, begun):
    metrics, said = run(workdir, begun[1])
    assert 0 <= metrics["accuracy_probe"] <= 1
    shown = f"linear probe: validation {metrics['accuracy_probe']:.4f}"
    assert f"  first {shown}" in said


def test_an_end_below_it_is_said(workdir, begun):
    # At this rate everything is unlearned.
    rates = {"learning_rate": 3.0, "retrain_learning_rate": 3.0}
    metrics, said = run(workdir, begun[1], **rates, warmup_share=0)
    assert metrics["accuracy_retrained"] < metrics["accuracy_probe"]
    assert any("below its linear probe" in line for line in said)


def test_a_head_may_start_by_chance(workdir, begun):
    metrics, said = run(workdir, begun[1], head_start="random")
    assert "accuracy_probe" not in metrics
    assert not any("probe" in line for line in said)
