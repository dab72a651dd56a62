"""A run starts its head from a linear probe, and says where it ends below."""

import dataclasses

import pytest
from support.tiny_runs import make_images

from packnet_tf.data import open_task
from packnet_tf.model.replicas import make_strategy
from packnet_tf.options.network import NetworkOptions
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
NETWORK = NetworkOptions(
    network="cnn",
    network_options={"width": 4},
    weights="none",
    image_size=16,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return open_task("first", make_images(tmp_path_factory.mktemp("images")))


def run(folder, data, options):
    said = []
    session = Session(
        Workdir(folder), NETWORK, ServingConfig(), make_strategy(1), said.append
    )
    (task,) = session.run(data, options).state.tasks
    return task.metrics, said


def test_it_is_said_and_recorded(tmp_path, data):
    metrics, said = run(tmp_path, data, OPTIONS)
    assert 0 <= metrics["accuracy_probe"] <= 1
    shown = f"linear probe: validation {metrics['accuracy_probe']:.4f}"
    assert f"  first {shown}" in said


def test_an_end_below_it_is_said(tmp_path, data):
    # At this rate everything is unlearned.
    options = dataclasses.replace(
        OPTIONS, learning_rate=3.0, retrain_learning_rate=3.0, warmup_share=0
    )
    metrics, said = run(tmp_path, data, options)
    assert metrics["accuracy_retrained"] < metrics["accuracy_probe"]
    assert any("below its linear probe" in line for line in said)


def test_a_head_may_start_by_chance(tmp_path, data):
    options = dataclasses.replace(OPTIONS, head_start="random")
    metrics, said = run(tmp_path, data, options)
    assert "accuracy_probe" not in metrics
    assert not any("probe" in line for line in said)
