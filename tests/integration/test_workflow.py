"""Sessions from images to packed states, interrupted and not, to the byte."""

import dataclasses
import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from support.sessions import (
    CLASSES,
    SIZE,
    check_equal,
    everything,
    pretrained,
    run,
    run_in_pieces,
)

from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data):
    """A workdir with both tasks, made without a break."""
    workdir = tmp_path_factory.mktemp("whole") / "w"
    for task in CLASSES:
        run(workdir, data, task)
    return workdir


def test_a_session_leaves_states_and_saved_models(whole):
    names = [state.path.name for state in Workdir(whole).states()]
    assert names == ["001-first", "002-second"]
    for number in ("1", "2"):
        model = whole / "serving" / "packnet" / number
        assert (model / "saved_model.pb").is_file()
    assert list((whole / "training").iterdir()) == []
    net, state = states.load(Workdir(whole))
    assert [(t.name, t.classes) for t in net.tasks] == [
        ("first", 3),
        ("second", 2),
    ]
    first, second = state.tasks
    assert first.metrics["test_accuracy"] >= 0
    # Half of all, and half of that half.
    assert first.metrics["capacity_left"] == pytest.approx(0.5, abs=0.02)
    assert second.metrics["capacity_left"] == pytest.approx(0.25, abs=0.02)
    assert net.capacity == second.metrics["capacity_left"]


def test_what_is_packed_is_not_done_again(whole, data, capsys):
    before = everything(whole)
    outcome = run(whole, data, "second")
    assert "packed already" in capsys.readouterr().out
    assert outcome.state.path == whole / "states" / "002-second"
    assert everything(whole) == before


def test_the_same_run_gives_the_same_bytes(tmp_path, whole, data):
    run(tmp_path, data, "first")
    check_equal(tmp_path, whole, "first")


def test_killed_runs_go_on_to_the_same_bytes(
    tmp_path, monkeypatch, whole, data
):
    # 2 epochs, trained, pruned, 3 epochs, retrained: 8 checkpoints.
    attempts = run_in_pieces(monkeypatch, tmp_path, data, "first", saves=3)
    assert attempts == 2
    check_equal(tmp_path, whole, "first")
    attempts = run_in_pieces(monkeypatch, tmp_path, data, "second", saves=3)
    assert attempts == 2
    check_equal(tmp_path, whole)


def test_phases_by_themselves_give_the_same_bytes(tmp_path, whole, data):
    for phase in ("train", "prune", "retrain"):
        outcome = run(tmp_path, data, "first", phases=(phase,))
        assert outcome.record.done[-1] == phase and outcome.state is None
    outcome = run(tmp_path, data, "first", phases=("pack",))
    assert outcome.state.path.is_dir()
    check_equal(tmp_path, whole, "first")


@pytest.mark.slow
def test_two_replicas_resume_to_the_same_bytes(tmp_path, monkeypatch, data):
    quick = {
        "train_epochs": 1,
        "retrain_epochs": 2,
        "gradual_epochs": 1,
        "validation_share": 0.0,
    }
    run(tmp_path / "whole", data, replicas=2, **quick)
    run_in_pieces(
        monkeypatch, tmp_path / "w", data, "first", 2, replicas=2, **quick
    )
    check_equal(tmp_path / "w", tmp_path / "whole")
    # On another number of replicas, the first task stays what it is.
    last = {**quick, "phases": ("train", "pack")}
    run(tmp_path / "w", data, "second", replicas=1, **last)
    first, second = Workdir(tmp_path / "w").states()
    assert first.tasks[0].digest == second.tasks[0].digest


READ_STATE = """
import sys
import numpy as np
import tensorflow as tf
from packnet_tf.storage import states

net, _ = states.load(sys.argv[1], sys.argv[2])
net.activate("first")
program = tf.function(lambda x: net.logits(x, training=False))
np.save(sys.argv[4], program(tf.constant(np.load(sys.argv[3]))).numpy())
"""

READ_SAVED_MODEL = """
import sys

# Whatever asks for them is refused.
sys.modules["keras"] = sys.modules["tf_keras"] = None
sys.modules["packnet_tf"] = None
import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1] + "/serving/packnet/" + sys.argv[2])
answer = model.signatures["first"](images=tf.constant(np.load(sys.argv[3])))
np.save(sys.argv[4], answer["logits"].numpy())
"""


@pytest.mark.parametrize(
    "program", [READ_STATE, READ_SAVED_MODEL], ids=["state", "saved_model"]
)
def test_an_old_task_answers_as_when_it_was_packed(tmp_path, whole, program):
    random = np.random.default_rng(5)
    pixels = random.uniform(0, 255, (5, SIZE, SIZE, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", pixels)
    answers = []
    for number, name in enumerate(CLASSES, 1):
        which = name if program is READ_STATE else str(number)
        out = tmp_path / f"{number}.npy"
        command = [sys.executable, "-c", textwrap.dedent(program), whole]
        subprocess.run(
            [*map(str, command), which, tmp_path / "images.npy", out],
            cwd=pathlib.Path(__file__).resolve().parents[2],
            check=True,
        )
        answers.append(np.load(out))
    assert answers[0].shape == (5, 3)
    assert answers[0].tobytes() == answers[1].tobytes()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Options of a pretrained network with a head, from a .keras file."""
    return pretrained(
        tmp_path_factory.mktemp("base") / "base.keras",
        base_prune_fraction=0.5,
        base_recovery="distill",
        base_recovery_epochs=2,
    )


def test_a_base_task_recovers_and_stays(tmp_path, monkeypatch, data, base):
    run(tmp_path / "whole", data, network=base)
    workdir = Workdir(tmp_path / "whole")
    assert [s.name for s in workdir.states()] == ["old", "first"]
    net, state = states.load(workdir)
    assert [task.classes for task in net.tasks] == [5, 3]
    old = workdir.states()[0].tasks[0]
    assert old.digest == state.tasks[0].digest
    assert old.metrics["capacity_left"] == pytest.approx(0.5, abs=0.02)
    assert net.pretrained_kernels is not None

    run_in_pieces(monkeypatch, tmp_path / "w", data, "first", 3, network=base)
    check_equal(tmp_path / "w", tmp_path / "whole")


def test_a_base_task_without_recovery(tmp_path, data, base):
    network = dataclasses.replace(base, base_recovery="none")
    run(tmp_path, data, network=network, phases=("train",), train_epochs=1)
    assert [s.name for s in Workdir(tmp_path).states()] == ["old"]
    # Its own name is not in the way of a task in training.
    run(tmp_path, data, network=network, phases=("pack",))
    assert [s.name for s in Workdir(tmp_path).states()] == ["old", "first"]


@pytest.mark.slow
def test_recovery_costs_added_tasks_nothing(tmp_path, data, base):
    found = []
    for recovery in ("none", "distill"):
        folder = tmp_path / recovery
        network = dataclasses.replace(base, base_recovery=recovery)
        run(folder, data, network=network)
        net, state = states.load(Workdir(folder))
        kernels = [
            np.asarray(kernel.variable).tobytes()
            for kernel in net.masked_kernels()
        ]
        private = [v.tobytes() for v in net.private_values("first")]
        metrics = state.tasks[1].metrics
        found.append((kernels, private, metrics["test_accuracy"]))
    assert found[0] == found[1]
