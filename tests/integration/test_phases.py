"""Which phases a session runs, in which order, and with which settings."""

import dataclasses

import numpy as np
import pytest
from support.sessions import (
    CNN,
    options_of,
    run,
)

from packnet_tf.errors import FlagError, PhaseError, StateError
from packnet_tf.model.replicas import make_strategy
from packnet_tf.options.serving import ServingConfig
from packnet_tf.storage import checkpoints, states
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.session import Session


@pytest.mark.parametrize(
    "network, rate, noted",
    [("mlp", None, True), ("mlp", 1e-3, False), ("cnn", None, False)],
)
def test_a_rate_for_other_networks_is_noted(
    tmp_path, data, capsys, network, rate, noted
):
    changes = {} if rate is None else {"learning_rate": rate}
    run(
        tmp_path,
        data,
        network=dataclasses.replace(
            CNN, network=network, network_options={"width": 4}
        ),
        phases=("train",),
        train_epochs=1,
        **changes,
    )
    found = "--learning_rate=1e-4" in capsys.readouterr().out
    assert found == noted


def test_phases_that_do_not_follow_are_refused(tmp_path, data):
    with pytest.raises(PhaseError, match="has not been trained"):
        run(tmp_path, data, phases=("retrain", "pack"))
    assert list(tmp_path.iterdir()) == []
    run(tmp_path, data, phases=("train", "prune"))
    with pytest.raises(PhaseError, match="over 2 epochs of retraining"):
        run(tmp_path, data, phases=("pack",))
    with pytest.raises(StateError, match="in the middle of task 'first'"):
        run(tmp_path, data, "second")
    with pytest.raises(FlagError, match="--gradual_epochs=2 needs"):
        run(tmp_path, data, phases=("prune", "pack"))


def test_a_phase_half_done_is_finished_first(tmp_path, monkeypatch, data):
    def end(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(
            "packnet_tf.workflow.progress.PhaseProgress.end_epoch", end
        )
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, data)
    with pytest.raises(PhaseError, match="train phase, after epoch 1"):
        run(tmp_path, data, phases=("prune",))


def test_a_task_may_be_packed_without_retraining(tmp_path, data):
    run(
        tmp_path,
        data,
        phases=("train", "prune", "pack"),
        gradual_epochs=None,
        train_epochs=1,
    )
    net, _ = states.load(tmp_path)
    assert net.capacity == pytest.approx(0.5, abs=0.02)


def test_prune_and_retrain_may_be_repeated(tmp_path, data):
    changes = {"gradual_epochs": 0, "train_epochs": 1, "retrain_epochs": 1}
    run(tmp_path, data, phases=("train", "prune", "retrain"), **changes)
    session = Session(Workdir(tmp_path), CNN, ServingConfig(), make_strategy(1))
    outcome = session.run(
        data["first"],
        options_of("first", phases=("prune",), **changes),
        again=True,
    )
    assert outcome.record.done == ["train", "prune"]
    assert outcome.net.capacity == pytest.approx(0.75, abs=0.02)
    run(tmp_path, data, phases=("retrain", "pack"), **changes)
    assert Workdir(tmp_path).newest().name == "first"


def test_how_a_task_is_pruned_is_handed_on_to_retraining(
    tmp_path, capsys, data
):
    # Only the command that prunes says how; gradual pruning follows later.
    how = {"scope": "global", "granularity": "filter"}
    changes = {"train_epochs": 1, "retrain_epochs": 2, "gradual_epochs": None}
    changes["reconstruct"] = False
    run(tmp_path, data, phases=("train", "prune"), **changes, **how)
    line = Session(
        Workdir(tmp_path), CNN, ServingConfig(), make_strategy(1)
    ).check(options_of("first", phases=("retrain", "pack"), **changes))
    assert "keeps about 50.0% in whole output channels" in line
    run(tmp_path, data, phases=("retrain", "pack"), **changes)
    (record,) = Workdir(tmp_path).newest().tasks
    assert record.facts["pruning"] == [
        {"fraction": 0.5, **how, "gradual_epochs": 1, "tolerance": None}
    ]
    net, _ = states.load(tmp_path)
    total = kept = 0
    for kernel in net.masked_kernels():
        if kernel.prunable:
            assert kernel.channel_axes == (-1,)
            mask = np.asarray(kernel.mask)
            mask = mask.reshape(-1, mask.shape[-1])
            # Whole channels, and not as many in every layer.
            assert (mask == mask[0]).all()
            total, kept = total + mask[0].size, kept + int(mask[0].sum())
    assert kept == total - round(0.5 * total)


def test_a_list_of_fractions_counts_the_added_tasks(tmp_path, data):
    changes = {
        "phases": ("train", "prune", "pack"),
        "gradual_epochs": 0,
        "train_epochs": 1,
        "prune_fraction": "0.5,0.75",
    }
    run(tmp_path, data, "first", **changes)
    run(tmp_path, data, "second", **changes)
    metrics = [task.metrics for task in Workdir(tmp_path).newest().tasks]
    assert [m["prune_fraction"] for m in metrics] == [0.5, 0.75]


def test_a_checkpoint_left_behind_is_removed(tmp_path, monkeypatch, data):
    quick = {"train_epochs": 1, "phases": ("train", "pack")}
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "remove", lambda folder: None)
        run(tmp_path, data, prune_fraction=0.5, **quick)
    assert checkpoints.read_record(tmp_path / "training") is not None
    run(tmp_path, data, **quick)
    assert checkpoints.read_record(tmp_path / "training") is None


def test_a_task_goes_on_with_the_settings_it_was_begun_with(
    tmp_path, monkeypatch, data
):
    save = checkpoints.save

    def save_once(folder, net, record):
        save(folder, net, record)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", save_once)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, data)
    # The phase in progress keeps all its settings, down to the last.
    with pytest.raises(PhaseError, match="--learning_rate=0.004, not 0.1;"):
        run(tmp_path, data, learning_rate=0.1)
    run(tmp_path, data, phases=("train",), retrain_learning_rate=0.001)
    # The next phase is free to choose, but not to train on other images.
    with pytest.raises(PhaseError, match="--validation_share=0.2, not 0.1;"):
        run(tmp_path, data, validation_share=0.1)
    facts = data["first"].facts
    resized = dataclasses.replace(facts.preprocessing, crop="resized")
    plain = dataclasses.replace(
        data["first"],
        facts=dataclasses.replace(facts, preprocessing=resized),
    )
    with pytest.raises(PhaseError, match="crop was random, and is now resized"):
        run(tmp_path, {**data, "first": plain})
    with pytest.raises(PhaseError, match="--reads=base, not all;"):
        run(tmp_path, data, reads="all")
    run(tmp_path, data, phases=("prune", "retrain", "pack"), optimizer="sgd")
    assert [s.name for s in Workdir(tmp_path).states()] == ["first"]


@pytest.mark.parametrize(
    "flag, changed",
    [
        ("prune_fraction=0.5, not 0.25", {"prune_fraction": 0.25}),
        ("scope=layer, not global", {"scope": "global"}),
        ("granularity=weight, not filter", {"granularity": "filter"}),
        ("gradual_epochs=2, not 0", {"gradual_epochs": 0}),
    ],
)
def test_a_pruned_task_is_not_taken_for_one_pruned_otherwise(
    tmp_path, data, flag, changed
):
    begun = {"train_epochs": 1, "retrain_epochs": 2}
    run(tmp_path, data, phases=("train", "prune"), **begun)
    with pytest.raises(PhaseError, match=f"pruned with --{flag}; continue"):
        run(tmp_path, data, phases=("prune", "retrain"), **begun, **changed)
    # Who does not prune has no say.
    run(tmp_path, data, phases=("retrain",), **begun, **changed)


def test_a_task_is_retrained_at_a_quarter_of_its_rate(tmp_path, data):
    short = {"train_epochs": 1, "retrain_epochs": 1, "gradual_epochs": 0}

    def settings(*phases, **rates):
        run(tmp_path, data, phases=phases, **rates, **short)
        return checkpoints.read_record(Workdir(tmp_path).training_path).settings

    settings("train", learning_rate=0.04)
    found = settings("prune", "retrain")
    assert found["retrain"]["retrain_learning_rate"] == 0.01
    run(tmp_path, data, phases=("pack",), **short)
    run(tmp_path, data, "second", **short)
    facts = Workdir(tmp_path).newest().tasks[-1].facts
    assert facts["options"]["learning_rate"] == 4e-3
    # The first task's train phase was that of a command of its own.
    first = Workdir(tmp_path).newest().tasks[0].facts["options"]
    assert first["learning_rate"] == 0.04
    assert first["retrain_learning_rate"] == 0.01
    assert facts["options"]["retrain_learning_rate"] == 1e-3
