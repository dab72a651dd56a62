"""Sessions from images to packed states, interrupted and not, to the byte."""

import dataclasses
import pathlib
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
from support.tiny_runs import make_images

from packnet_tf.data import open_task
from packnet_tf.errors import FlagError, PhaseError, StateError
from packnet_tf.model.replicas import make_strategy
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.serving import ServingConfig
from packnet_tf.options.task import TaskOptions
from packnet_tf.storage import checkpoints, states
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.session import Session

SIZE = 16
CNN = NetworkOptions(
    network="cnn",
    network_options={"width": 4, "dropout": 0.2},
    weights="none",
    image_size=SIZE,
)
OPTIONS = TaskOptions(
    task="first",
    train_epochs=2,
    retrain_epochs=3,
    gradual_epochs=2,
    batch_size=8,
    prune_fraction=0.5,
    validation_share=0.2,
)
CLASSES = {
    "first": ("blue", "green", "red"),
    "second": ("dark", "light"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The opened images of both tasks, by name."""
    folder = tmp_path_factory.mktemp("data")
    return {
        name: open_task(
            name, make_images(folder / name, classes, seed=len(name))
        )
        for name, classes in CLASSES.items()
    }


def options_of(task, **changes):
    return dataclasses.replace(OPTIONS, task=task, **changes)


def run(workdir, data, task="first", network=CNN, replicas=1, **changes):
    """Runs a session as a process of its own would, up to its random state."""
    keras.utils.set_random_seed(int.from_bytes(workdir.name.encode()) % 1000)
    session = Session(
        Workdir(workdir), network, ServingConfig(), make_strategy(replicas)
    )
    return session.run(data[task], options_of(task, **changes))


def run_in_pieces(monkeypatch, workdir, data, task, saves=1, **changes):
    """Runs a session that is killed again and again; returns how often.

    Every attempt saves so many checkpoints, and is ended before it saves
    another one.
    """
    save, attempts = checkpoints.save, 0
    while True:
        left = [None] * saves

        def save_some(folder, net, record, left=left):
            if not left:
                raise KeyboardInterrupt
            left.pop()
            save(folder, net, record)

        with monkeypatch.context() as patch:
            patch.setattr(checkpoints, "save", save_some)
            try:
                run(workdir, data, task, **changes)
                return attempts
            except KeyboardInterrupt:
                attempts += 1


def everything(workdir, which=None):
    """Returns all that a packed state holds, as bytes."""
    net, _ = states.load(Workdir(workdir), which)
    found = {
        f"{i} {v.path}": np.asarray(v).tobytes()
        for i, v in enumerate(net.variables)
        # A loaded network draws new seeds for its dropout.
        if "seed_generator" not in v.path
    }
    for task in net.tasks:
        found[f"digest {task.name}"] = task.digest
        for i, value in enumerate(net.private_values(task.name)):
            found[f"private {i} {task.name}"] = value.tobytes()
    assert net.pretrained_kernels is not None
    for i, value in enumerate(net.pretrained_kernels):
        found[f"origin {i}"] = value.tobytes()
    return found


def check_equal(one, other, which=None):
    """Compares a state of two workdirs, byte for byte."""
    ours, theirs = everything(one, which), everything(other, which)
    different = [
        name
        for name in {**ours, **theirs}
        if ours.get(name) != theirs.get(name)
    ]
    assert not different


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
    attempts = run_in_pieces(monkeypatch, tmp_path, data, "second")
    assert attempts == 7
    check_equal(tmp_path, whole)


def test_phases_by_themselves_give_the_same_bytes(tmp_path, whole, data):
    for phase in ("train", "prune", "retrain"):
        outcome = run(tmp_path, data, "first", phases=(phase,))
        assert outcome.record.done[-1] == phase and outcome.state is None
    outcome = run(tmp_path, data, "first", phases=("pack",))
    assert outcome.state.path.is_dir()
    check_equal(tmp_path, whole, "first")


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
    run(tmp_path, data, phases=("train", "prune"), **changes, **how)
    line = Session(
        Workdir(tmp_path), CNN, ServingConfig(), make_strategy(1)
    ).check(options_of("first", phases=("retrain", "pack"), **changes))
    assert "keeps about 50.0% in whole output channels" in line
    run(tmp_path, data, phases=("retrain", "pack"), **changes)
    (record,) = Workdir(tmp_path).newest().tasks
    assert record.facts["pruning"] == [
        {"fraction": 0.5, **how, "gradual_epochs": 1}
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
    path = tmp_path_factory.mktemp("base") / "base.keras"
    layers = keras.layers
    keras.utils.set_random_seed(3)
    keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(6, 3, strides=2, activation="relu"),
            layers.BatchNormalization(),
            layers.Conv2D(8, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5, activation="softmax"),
        ]
    ).save(path)
    return NetworkOptions(
        network=str(path),
        image_size=SIZE,
        base_task="old",
        base_prune_fraction=0.5,
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

    run_in_pieces(monkeypatch, tmp_path / "w", data, "first", network=base)
    check_equal(tmp_path / "w", tmp_path / "whole")


def test_a_base_task_without_recovery(tmp_path, data, base):
    network = dataclasses.replace(base, base_recovery="none")
    run(tmp_path, data, network=network, phases=("train",), train_epochs=1)
    assert [s.name for s in Workdir(tmp_path).states()] == ["old"]
    # Its own name is not in the way of a task in training.
    run(tmp_path, data, network=network, phases=("pack",))
    assert [s.name for s in Workdir(tmp_path).states()] == ["old", "first"]


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
    with pytest.raises(PhaseError, match=f"pruned with --{flag}; go on"):
        run(tmp_path, data, phases=("prune", "retrain"), **begun, **changed)
    # Who does not prune has no say.
    run(tmp_path, data, phases=("retrain",), **begun, **changed)
