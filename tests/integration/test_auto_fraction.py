"""Runs that find the fraction themselves: recorded, resumed, refused."""

import pytest
from support.sessions import check_equal, run, run_in_pieces

from packnet_tf.errors import FlagError, PhaseError
from packnet_tf.storage.workdir import Workdir

AUTO = {
    "prune_fraction": "auto",
    # Chance decides on so few images; some fractions are within it.
    "tolerance": 20.0,
    "gradual_epochs": 0,
    "train_epochs": 1,
    "retrain_epochs": 1,
}


@pytest.mark.slow
def test_a_killed_search_ends_with_the_same_bytes(
    tmp_path, monkeypatch, data, capsys
):
    run(tmp_path / "whole", data, **AUTO)
    shown = capsys.readouterr().out
    assert "points, in 5 tries or fewer" in shown
    facts = Workdir(tmp_path / "whole").newest().tasks[-1]
    (pruning,) = facts.facts["pruning"]
    assert pruning["tolerance"] == 20.0
    assert facts.metrics["prune_fraction"] == pruning["fraction"]
    assert f"{pruning['fraction']:.0%} is chosen" in shown
    assert run_in_pieces(monkeypatch, tmp_path / "w", data, "first", **AUTO)
    check_equal(tmp_path / "w", tmp_path / "whole")


def test_a_task_pruned_so_is_not_pruned_in_another_way(tmp_path, data, capsys):
    how = {**AUTO, "phases": ("train", "prune")}
    run(tmp_path / "w", data, **how)
    assert "so that chance decides" not in capsys.readouterr().out
    for changes in (
        {"prune_fraction": 0.5, "tolerance": None},
        {"tolerance": 3},
    ):
        with pytest.raises(PhaseError, match="was pruned with --"):
            run(tmp_path / "w", data, **{**how, **changes})
    run(tmp_path / "w", data, **AUTO)


def test_a_search_without_validation_images_is_refused(tmp_path, data):
    with pytest.raises(FlagError, match="no validation images") as caught:
        run(tmp_path / "w", data, validation_share=0.0, **AUTO)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "w").exists()


def test_a_tolerance_of_less_than_an_image_is_named(tmp_path, data, capsys):
    how = {**AUTO, "tolerance": 0.5, "phases": ("train", "prune")}
    run(tmp_path / "w", data, **how)
    assert "so that chance decides; give a larger --tolerance" in (
        capsys.readouterr().out
    )
