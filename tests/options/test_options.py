import dataclasses

import pytest

from packnet_tf.errors import FlagError, PackNetError, TaskError
from packnet_tf.options import fields
from packnet_tf.options.data import DataOptions
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.task import TaskOptions, check_batch_size
from packnet_tf.options.workdir import check_writable


def test_the_defaults_are_legal():
    assert NetworkOptions().pretrained
    assert TaskOptions(task="birds").phases == (
        "train",
        "prune",
        "retrain",
        "pack",
    )


@pytest.mark.parametrize("record", [NetworkOptions, TaskOptions, DataOptions])
def test_every_option_has_a_group_and_some_are_basic(record):
    found = [one.option for one in fields.declared(record)]
    assert {option.group for option in found} <= set(fields.GROUPS)
    assert {option.basic for option in found} == {True, False}


@pytest.mark.parametrize(
    "network, weights, pretrained",
    [
        ("mobilenet", "imagenet", True),
        ("mobilenet", "file:mobilenet.h5:0123", True),
        ("mobilenet", "none", False),
        ("mine.keras", "imagenet", True),
        ("file:mine.keras:0123", "none", True),
    ],
)
def test_a_network_with_weights_is_pretrained(network, weights, pretrained):
    options = NetworkOptions(network=network, weights=weights)
    assert options.pretrained is pretrained


def test_weights_beside_a_keras_file_are_refused():
    with pytest.raises(FlagError, match="has its own weights"):
        NetworkOptions(network="mine.keras", weights="other.h5")


@pytest.mark.parametrize(
    "name, value",
    [
        ("network", ""),
        ("image_size", 0),
        ("image_size", 5000),
        ("private", "shared"),
        ("depthwise", "frozen"),
        ("precision", "float8"),
        ("base_prune_fraction", 0.0),
        ("base_prune_fraction", 1.0),
        ("base_prune_fraction", float("nan")),
        ("base_recovery", "sleep"),
        ("base_recovery_epochs", 0),
        ("base_learning_rate", -1.0),
    ],
)
def test_networks_name_the_option_that_is_wrong(name, value):
    with pytest.raises(PackNetError, match=name):
        NetworkOptions(**{name: value})


def test_the_base_task_has_a_legal_name():
    with pytest.raises(TaskError, match="a/b"):
        NetworkOptions(base_task="a/b")


@pytest.mark.parametrize(
    "name, value",
    [
        ("phases", ()),
        ("phases", ("finish",)),
        ("phases", ("prune", "train")),
        ("phases", ("train", "train")),
        ("prune_fraction", 0.0),
        ("prune_fraction", "0.5,1"),
        ("prune_fraction", "equal_share"),
        ("planned_tasks", 3),
        ("tolerance", 0.5),
        ("tolerance", -1.0),
        ("scope", "filter"),
        ("granularity", "layer"),
        ("gradual_epochs", -1),
        ("gradual_epochs", 19),
        ("origin", "one"),
        ("train_epochs", 0),
        ("retrain_epochs", 0),
        ("batch_size", 0),
        ("optimizer", "adamm"),
        ("warmup_share", 1.0),
        ("warmup_share", -0.1),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("retrain_learning_rate", float("inf")),
        ("schedule", "linear"),
        ("weight_decay", -0.1),
        ("weight_decay", float("nan")),
        ("validation_share", 1.0),
        ("seed", -1),
        ("seed", 2**32),
    ],
)
def test_tasks_name_the_option_that_is_wrong(name, value):
    with pytest.raises(FlagError, match=name):
        TaskOptions(task="birds", **{name: value})


def test_equal_shares_need_a_plan():
    TaskOptions(task="a", prune_fraction="equal_share", planned_tasks=3)
    with pytest.raises(FlagError, match="planned_tasks=0"):
        TaskOptions(task="a", prune_fraction="equal_share", planned_tasks=0)


def test_a_fraction_that_is_found_is_pruned_at_once_and_fitted():
    auto = TaskOptions(task="a", prune_fraction="auto")
    assert (auto.finds_fraction, auto.points, auto.gradual_steps) == (
        True,
        0.5,
        0,
    )
    assert dataclasses.replace(auto, tolerance=2.0).points == 2.0
    assert TaskOptions(task="a").points is None
    for name, value in [
        ("gradual_epochs", 3),
        ("reconstruct", False),
        ("planned_tasks", 3),
    ]:
        with pytest.raises(FlagError, match=f"{name}.*auto|auto.*{name}"):
            dataclasses.replace(auto, **{name: value})


def test_gradual_pruning_takes_half_of_the_retraining_by_default():
    options = TaskOptions(task="birds", retrain_epochs=7, reconstruct=False)
    assert options.gradual_steps == 3
    # What is fitted loses little when it is pruned at once.
    assert dataclasses.replace(options, reconstruct=True).gradual_steps == 0
    assert dataclasses.replace(options, gradual_epochs=5).gradual_steps == 5
    assert dataclasses.replace(options, gradual_epochs=0).gradual_steps == 0


def test_without_retraining_pruning_is_done_at_once():
    phases = ("train", "prune", "pack")
    assert TaskOptions(task="birds", phases=phases).gradual_steps == 0
    # The retrain phase may come in another run.
    phases = ("train", "prune")
    options = TaskOptions(
        task="birds", phases=phases, retrain_epochs=18, reconstruct=False
    )
    assert options.gradual_steps == 9
    with pytest.raises(FlagError, match="--gradual_epochs=2 needs"):
        TaskOptions(task="birds", phases=("prune", "pack"), gradual_epochs=2)


def test_every_replica_needs_an_image():
    check_batch_size(2, 2)
    with pytest.raises(FlagError, match="2 replicas"):
        check_batch_size(1, 2)
    with pytest.raises(FlagError, match="--batch_size=0"):
        check_batch_size(0)


def test_a_workdir_is_probed_and_not_made(tmp_path):
    check_writable(tmp_path / "a" / "b")
    check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "w", "w/x"])
def test_a_file_is_no_workdir(tmp_path, below):
    (tmp_path / "file").touch()
    with pytest.raises(FlagError, match="file is a file"):
        check_writable(tmp_path / "file" / below)


def test_what_cannot_be_a_path_is_no_workdir(tmp_path):
    with pytest.raises(FlagError, match="--workdir=.*too long"):
        check_writable(tmp_path / ("x" * 300))
