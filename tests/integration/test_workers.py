"""Several workers: processes of one job, on this machine."""

import shutil

import numpy as np
import pytest
from support.refusals import check_refused, contents
from support.sessions import pretrained
from support.whole_runs import everything

from packnet_tf.storage import states

# No batch statistics and no dropout, so that a step of two halves of a batch
# is a step of the batch; all batches can be halved and quartered.
FLAGS = (
    "--network=mlp",
    "--network_options=width=8,depth=1",
    "--weights=none",
    "--image_size=16",
    "--optimizer=sgd",
    "--learning_rate=0.02",
    "--retrain_learning_rate=0.01",
    "--train_epochs=2",
    "--retrain_epochs=1",
    "--prune_fraction=0.5",
    "--validation_share=0",
    "--batch_size=8",
)
MULTI = "--strategy=multi_worker"


@pytest.fixture(scope="module")
def add(run_app, images, tmp_path_factory):
    """Returns a function that adds the second task to a copy of a workdir."""

    def run(workdir, task, *flags, **how):
        return run_app(
            "add_task",
            f"--workdir={workdir}",
            f"--task={task}",
            f"--data={images / task}",
            *FLAGS,
            *flags,
            **how,
        )

    first = tmp_path_factory.mktemp("first") / "w"
    ended = run(first, "first")
    assert ended.code == 0, ended.stderr

    def add(workdir, *flags, **how):
        if not workdir.exists():
            shutil.copytree(first, workdir)
        return run(workdir, "second", *flags, **how)

    return add


@pytest.fixture(scope="module")
def alone(add, tmp_path_factory):
    """A workdir to which one process has added the second task."""
    workdir = tmp_path_factory.mktemp("alone") / "w"
    ended = add(workdir)
    assert ended.code == 0, ended.stderr
    return workdir


def check_same(workdir, other):
    """Compares the weights of two workdirs."""
    (net, _), (their_net, _) = map(states.load, (workdir, other))
    for ours, variable in zip(net.variables, their_net.variables, strict=True):
        np.testing.assert_allclose(
            np.asarray(ours), np.asarray(variable), rtol=1e-5, atol=1e-5
        )
    # Which weights a task owns is the same, not almost the same.
    assert net.owner_totals() == their_net.owner_totals()


def check_first(workdir, other):
    """Compares the bytes of the task that was there before."""
    ours, theirs = (states.load(w)[1].tasks[0] for w in (workdir, other))
    assert ours.name == "first" and ours.digest == theirs.digest


def test_two_workers_train_as_one_process_does(add, alone, tmp_path):
    ended = add(tmp_path / "w", MULTI, workers=2)
    assert ended.codes == [0, 0], (ended.stderr, ended.others)
    assert "states/002-second" in ended.stdout
    check_same(tmp_path / "w", alone)
    check_first(tmp_path / "w", alone)


def test_what_cannot_work_is_refused_at_once(add, tmp_path):
    workdir = tmp_path / "w"
    check_refused(add(workdir, MULTI), "TF_CONFIG is not set")
    before = contents(workdir)
    for flag in ("--replicas=2", "--batch_size=1"):
        ended = add(workdir, MULTI, flag, workers=2)
        assert ended.codes == [1, 1]
        check_refused(ended, flag)
    assert contents(workdir) == before


def test_a_worker_with_other_flags_is_refused(add, tmp_path):
    workdir = tmp_path / "w"
    ended = add(
        workdir, MULTI, workers=2, victim=1, victims_arguments=["--seed=1"]
    )
    assert ended.codes == [1, 1]
    for text in (ended.stderr, *ended.others):
        assert "error: The workers differ in their options" in text
        assert "Traceback" not in text
    assert not list((workdir / "training").iterdir())


@pytest.mark.slow
def test_a_workdir_that_is_not_shared_is_refused(add, tmp_path):
    """Slow, since a network file system may take a minute to show files."""
    other = [f"--workdir={tmp_path / 'other'}"]
    ended = add(
        tmp_path / "w", MULTI, workers=2, victim=1, victims_arguments=other
    )
    assert ended.codes == [1, 1]
    for text in (ended.stderr, *ended.others):
        assert "not every worker sees there" in text
        assert "Traceback" not in text
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_four_workers_train_as_one_process_does(add, alone, tmp_path):
    ended = add(tmp_path / "w", MULTI, workers=4)
    assert ended.codes == [0] * 4, (ended.stderr, ended.others)
    check_same(tmp_path / "w", alone)
    check_first(tmp_path / "w", alone)


@pytest.mark.slow
def test_two_workers_train_as_two_replicas_do(run_app, images, tmp_path):
    """With batch normalization, a base task that is distilled, odd batches."""
    pretrained(tmp_path / "old.keras")
    for name, *how in (("workers", MULTI), ("replicas", "--replicas=2")):
        ended = run_app(
            "add_task",
            f"--workdir={tmp_path / name}",
            "--task=second",
            f"--data={images / 'second'}",
            f"--network={tmp_path / 'old.keras'}",
            "--image_size=16",
            "--base_task=old",
            "--base_recovery=distill",
            "--base_recovery_epochs=1",
            "--optimizer=sgd",
            "--train_epochs=1",
            "--retrain_epochs=1",
            "--batch_size=8",
            *how,
            workers=2 if name == "workers" else 1,
        )
        assert ended.code == 0, ended.stderr
    check_same(tmp_path / "workers", tmp_path / "replicas")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_job_goes_on_after_a_worker_was_killed(
    add, run_app, tmp_path, victim
):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    ended = add(whole, MULTI, workers=2)
    assert ended.codes == [0, 0], (ended.stderr, ended.others)
    # After the first epoch.
    checkpoint = killed / "training" / "checkpoint.npz"
    ended = add(
        killed, MULTI, workers=2, victim=victim, kill_when=str(checkpoint)
    )
    assert ended.codes[victim] == -9
    assert ended.codes[1 - victim] == 1, (ended.stderr, ended.others)
    left = ended.stderr if victim else ended.others[0]
    assert "start all workers again" in left and "Traceback" not in left
    assert checkpoint.exists()
    ended = add(killed, MULTI, workers=2)
    assert ended.codes == [0, 0], (ended.stderr, ended.others)
    assert "going on after train, epoch 1" in ended.stdout
    ours, theirs = everything(killed), everything(whole)
    assert [name for name in theirs if ours.get(name) != theirs[name]] == []
    assert ours.keys() == theirs.keys()
    # Both workers answer, each half of the images.
    ended = run_app("evaluate", f"--workdir={killed}", MULTI, workers=2)
    assert ended.codes == [0, 0], (ended.stderr, ended.others)
    one = run_app("evaluate", f"--workdir={killed}")
    assert ended.stdout == one.stdout
