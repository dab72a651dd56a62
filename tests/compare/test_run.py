"""Which cells are run, at which rate, and what is refused. Nothing trains."""

import dataclasses
import json

import numpy as np
import pytest
from support.comparisons import COMPARE, OPTIONS

from packnet_tf.compare import run as run_module
from packnet_tf.compare.cell import Result
from packnet_tf.compare.run import Comparison
from packnet_tf.compare.summary import read_summary
from packnet_tf.compare.table import text_of
from packnet_tf.errors import PackNetError

RATES = (0.001, 0.004, 0.016)
WANTED = dataclasses.replace(
    COMPARE,
    methods=("finetune", "individual"),
    seeds=(0, 1),
    learning_rates=RATES,
)
# Finetune is best at the end of the list.
BEST = {"finetune": 0.016, "individual": 0.004}


@pytest.fixture
def cells(monkeypatch):
    """Replaces the work of a cell; the cells that were run, in order."""
    ran = []

    def fake(method, cell):
        name, options = method.name, cell.options
        rate, seed = options.learning_rate, options.seed
        ran.append((name, rate, seed, cell.tests is None))
        # PackNet retrains at a quarter of it.
        assert options.retrain_learning_rate is None
        assert list(cell.folder.iterdir()) == []
        (cell.folder / "file").touch()
        right = 0.5 - abs(rate - BEST.get(name, 1)) * 10
        if cell.tests is None:
            return Result(name, rate, seed, [right, right], seconds=2.0)
        lost = 0.25 if name == "finetune" else 0.0
        own = 0.75 + seed / 16
        return Result(
            name,
            rate,
            seed,
            [right, right],
            [[own], [own - lost, 0.5]],
            [1_000_000, 1_500_000],
            60.0,
            2.5,
        )

    monkeypatch.setattr(run_module, "run_cell", fake)
    return ran


@pytest.fixture
def compare(data, network, tmp_path):
    """Returns a function that makes a comparison in one folder."""

    def make(wanted=WANTED, lines=None, **changes):
        data_now = changes.pop("data", data)
        network_now = dataclasses.replace(network, **changes.pop("net", {}))
        return Comparison(
            changes.pop("path", tmp_path / "c"),
            data_now,
            network_now,
            dataclasses.replace(OPTIONS, **changes),
            wanted,
            (lines if lines is not None else []).append,
        )

    return make


def test_rates_are_chosen_on_validation_then_all_seeds_run(cells, compare):
    lines = []
    summary = compare(lines=lines).run()
    tuning = [(m, rate, 0, True) for m in BEST for rate in RATES]
    final = [(m, BEST[m], seed, False) for seed in (0, 1) for m in BEST]
    assert cells == tuning + final
    rows = {row.method: row for row in summary.rows}
    finetune, individual = rows["finetune"], rows["individual"]
    assert (finetune.learning_rate, finetune.at_end_of_list) == (0.016, True)
    assert (individual.learning_rate, individual.at_end_of_list) == (
        0.004,
        False,
    )
    assert individual.accuracy == pytest.approx((0.625 + 0.65625) / 2)
    assert individual.difference is None
    # The same with both seeds: the interval has no width.
    assert finetune.difference.mean == pytest.approx(-0.125)
    assert finetune.difference.low == pytest.approx(-0.125)
    assert finetune.forgetting == 0.25
    assert finetune.backward_transfer == -0.25
    assert individual.forgetting == 0.0
    assert (individual.size, individual.added) == (1_500_000, 500_000)
    assert "10/10  individual  seed 1  validation 0.5000  left 0:00" in lines


def test_an_interrupted_comparison_goes_on(cells, compare, monkeypatch):
    fake = run_module.run_cell

    def stopped(method, cell):
        if len(cells) == 7:
            raise KeyboardInterrupt
        return fake(method, cell)

    monkeypatch.setattr(run_module, "run_cell", stopped)
    with pytest.raises(KeyboardInterrupt):
        compare().run()
    monkeypatch.setattr(run_module, "run_cell", fake)
    interrupted = compare().run()
    assert len(cells) == len(set(cells)) == 10
    again = compare().run()
    assert len(cells) == 10
    assert again == interrupted


def test_methods_and_seeds_can_be_added(cells, compare):
    compare().run()
    del cells[:]
    more = dataclasses.replace(
        WANTED, methods=(*WANTED.methods, "lora"), seeds=(1, 0, 2)
    )
    summary = compare(more).run()
    # The seed that chooses stays the first one.
    assert cells[:3] == [("lora", rate, 0, True) for rate in RATES]
    assert sorted(cells[3:]) == [
        ("finetune", 0.016, 2, False),
        ("individual", 0.004, 2, False),
        ("lora", 0.016, 0, False),
        ("lora", 0.016, 1, False),
        ("lora", 0.016, 2, False),
    ]
    assert [len(row.seeds) for row in summary.rows] == [3, 3, 3]


def test_a_single_rate_needs_no_choice(cells, compare):
    one = dataclasses.replace(WANTED, learning_rates=(0.004,))
    summary = compare(one, validation_share=0.0).run()
    assert not any(tuning for *_, tuning in cells)
    assert "none was tuned" in text_of(summary)


def test_a_method_that_diverges_keeps_no_other_from_its_row(
    cells, compare, monkeypatch
):
    fake = run_module.run_cell

    def diverging(method, cell):
        result = fake(method, cell)
        if method.name == "finetune":
            return Result("finetune", result.learning_rate, 0, diverged=True)
        return result

    monkeypatch.setattr(run_module, "run_cell", diverging)
    summary = compare().run()
    finetune, individual = summary.rows
    assert finetune.learning_rate is None and finetune.accuracy is None
    assert individual.seeds == (0, 1)
    assert "finetune diverged at every learning rate." in text_of(summary)


def test_the_files_hold_the_summary(cells, compare, tmp_path):
    summary = compare().run()
    folder = tmp_path / "c"
    assert read_summary(folder) == summary
    assert read_summary(folder / "comparison.json") == summary
    text = (folder / "comparison.txt").read_text()
    assert text == text_of(summary) + "\n"
    assert "0.016*" in text and "-0.1250 [-0.1250, -0.1250]" in text
    assert not (folder / "work").exists()
    later = json.loads((folder / "comparison.json").read_bytes())
    (folder / "comparison.json").write_text(json.dumps({**later, "schema": 9}))
    with pytest.raises(PackNetError, match="has schema 9, this release"):
        read_summary(folder)


# What is refused, in one line.


def refused(make):
    with pytest.raises(PackNetError) as caught:
        make()
    (line,) = str(caught.value).splitlines()
    return line


def test_another_budget_in_the_same_folder(cells, compare, tmp_path):
    compare().run()
    line = refused(lambda: compare(train_epochs=9))
    assert line == (
        f"--train_epochs=9: the comparison in {tmp_path / 'c'} began with "
        "--train_epochs=1; give the same, or another --workdir."
    )
    rates = dataclasses.replace(WANTED, learning_rates=(0.1,))
    assert "--learning_rates=0.1: " in refused(lambda: compare(rates))
    assert "--packed_precision=bfloat16: " in refused(
        lambda: compare(net={"packed_precision": "bfloat16"})
    )
    # Cells set these themselves.
    compare(seed=5, learning_rate=0.5)


def test_other_tasks_or_data_in_the_same_folder(cells, compare, data):
    compare().run()
    line = refused(lambda: compare(data=data[::-1]))
    assert line.startswith("--tasks=second,first: the comparison in ")
    fewer = dataclasses.replace(data[0], class_names=("blue", "green"))
    line = refused(lambda: compare(data=[fewer, data[1]]))
    assert line.startswith(
        "The data of task 'first' has 2 classes; the comparison in "
    )


def test_data_that_cannot_be_compared(compare, data):
    untested = dataclasses.replace(data[0], test=None)
    line = refused(lambda: compare(data=[untested]))
    assert line.startswith("The data of task 'first' has no test images")
    line = refused(lambda: compare(validation_share=0.0))
    assert line.startswith("--learning_rates has 3 rates to choose from, but")
    line = refused(lambda: compare(data=[data[0], data[0]]))
    assert line.startswith("--tasks: 'first' is the name of two tasks")


def test_fractions_for_fewer_tasks(compare, data):
    more = dataclasses.replace(data[0], name="third")
    line = refused(
        lambda: compare(prune_fraction="0.5,0.5", data=[*data, more])
    )
    assert line.startswith("prune_fraction=0.5,0.5 gives 2 fractions, but ")


def test_a_fraction_is_found_only_with_validation_images(
    cells, compare, data, tmp_path
):
    one = dataclasses.replace(
        WANTED, methods=("individual", "packnet"), learning_rates=(0.004,)
    )
    auto = {
        "prune_fraction": "auto",
        "validation_share": 0.0,
        "reconstruct": True,
        "gradual_epochs": None,
    }
    line = refused(lambda: compare(one, **auto))
    assert line.startswith(
        "--prune_fraction=auto: task 'first' has no validation images"
    )
    # Nothing is written, so that a share can be given in the same folder.
    assert not (tmp_path / "c").exists()
    # The last image of a class is never held out.
    places = np.unique(data[0].train.labels, return_index=True)[1]
    few = dataclasses.replace(data[0], train=data[0].train.subset(places))
    share = {**auto, "validation_share": 0.5}
    line = refused(lambda: compare(one, data=[few], **share))
    assert line.startswith("--prune_fraction=auto: task 'first' has no valid")
    own = [dataclasses.replace(d, validation=d.test) for d in data]
    compare(one, data=own, **auto)
    compare(dataclasses.replace(one, methods=("individual",)), **auto)


def test_the_workdir_of_a_network(compare, tmp_path):
    (tmp_path / "states").mkdir()
    line = refused(lambda: compare(path=tmp_path))
    assert line.startswith(f"{tmp_path} is the workdir of a network")


def test_damaged_files(cells, compare, tmp_path):
    compare().run()
    cell = tmp_path / "c" / "cells" / "finetune-0.016-1.json"
    cell.write_text("{")
    line = refused(compare().run)
    assert line.startswith(f"{cell} is damaged: not JSON")
    cell.write_text("{}")
    assert refused(compare().run).startswith(f"{cell} is damaged: ")
