"""Killed at any moment, any number of times: the end is the same bytes.

The commands of a network's life run once without a break, and once while
they are killed by SIGKILL at seeded random moments: by the clock, and between
the writes to the workdir, so that commits and exports are hit too. What is
compared is all that there is: after every phase the checkpoint (weights,
masks, private variables, heads, optimizer, seed generators, metrics), in the
end the packed states and the answers of the SavedModels.
"""

import json
import re
import shutil

import numpy as np
import pytest
from support.whole_runs import FLAGS, everything

from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.verify import verify

# The first task phase by phase, the second in one command.
COMMANDS = [
    ("first", "train"),
    ("first", "prune"),
    ("first", "retrain"),
    ("first", "pack"),
    ("second", "train,prune,retrain,pack"),
]
ORDER = ("train", "prune", "retrain", "pack")
KILLS = 25
MOST_LIVES = 8


def progress(workdir, task):
    """Returns how far a task is on disk: its phase, and epochs of it."""
    if any(t.name == task for s in Workdir(workdir).states() for t in s.tasks):
        return len(ORDER), 0
    checkpoint = workdir / "training" / "checkpoint.npz"
    if not checkpoint.exists():
        return 0, 0
    with np.load(checkpoint) as arrays:
        record = json.loads(arrays["record"].tobytes())
    return len(record["done"]), record["epoch"]


def printed(stdout, task):
    """Returns how far a run said that it was."""
    found = (0, 0)
    pattern = rf"{task} (\w+) +epoch +(\d+)/(\d+)"
    for phase, epoch, last in re.findall(pattern, stdout):
        where = ORDER.index(phase), int(epoch)
        # The last epoch of a phase ends it, in another step.
        found = max(found, where)
        assert int(epoch) <= int(last)
    return found


def run_all(run_app, workdir, images, replicas, kills=()):
    """Runs the commands; returns what is there after each, and how it went.

    Args:
        kills: For each command, a list of what to give `run_app` to kill it.
    """
    snapshots, ends, killed = [], [], 0
    for number, (task, phases) in enumerate(COMMANDS):
        planned = list(kills[number]) if kills else []
        while True:
            how = planned.pop() if planned else {}
            before = progress(workdir, task)
            ended = run_app(
                "add_task",
                f"--workdir={workdir}",
                f"--task={task}",
                f"--data={images / task}",
                f"--phases={phases}",
                f"--replicas={replicas}",
                *FLAGS,
                **how,
                below=str(workdir),
            )
            # Not an epoch that was finished is ever lost.
            after = progress(workdir, task)
            assert after >= before
            assert after >= printed(ended.stdout, task)
            if ended.code == 0 and not planned:
                break
            if ended.code:
                assert ended.code == -9, ended.stdout + ended.stderr
                killed += 1
        snapshots.append(everything(workdir))
        ends.append(ended)
    return snapshots, ends, killed


def plan(random, ends, count):
    """Returns where to kill each command: seeded, half of them by writes."""
    kills = [[] for _ in ends]
    for i in range(count):
        number = i % len(ends)
        end = ends[number]
        if i // len(ends) % 2 == 0:
            how = {"die_at": int(random.integers(1, end.touches + 1))}
        else:
            how = {"kill_after": float(random.uniform(0, end.seconds))}
        kills[number].append(how)
    return kills


def check(run_app, tmp_path, images, replicas, count, seed):
    whole = tmp_path / "whole"
    expected, ends, _ = run_all(run_app, whole, images, replicas)
    # Pruning has the fewest: a try of the folder, the lock, a checkpoint.
    assert all(end.touches >= 5 for end in ends)
    random = np.random.default_rng(seed)
    killed, lives = 0, 0
    # A moment may come after the end of what is left to do: whatever was
    # missed falls into another life.
    while killed < count:
        lives += 1
        assert lives <= MOST_LIVES, killed
        workdir = tmp_path / f"killed{lives}"
        kills = plan(random, ends, count - killed)
        found, _, times = run_all(run_app, workdir, images, replicas, kills)
        killed += times
        for number, command in enumerate(COMMANDS):
            ours, theirs = found[number], expected[number]
            different = [
                name
                for name in {**ours, **theirs}
                if ours.get(name) != theirs.get(name)
            ]
            assert not different, (command, kills[number])
        report = verify(Workdir(workdir))
        assert report.ok, str(report)
    return lives


@pytest.mark.slow
@pytest.mark.parametrize("replicas", [1, 2])
def test_the_end_is_the_same_bytes(run_app, tmp_path, images, replicas):
    lives = check(run_app, tmp_path, images, replicas, KILLS, seed=replicas)
    print(f"{KILLS} kills in {lives} lives, {replicas} replicas")


def test_a_killed_command_is_finished_by_the_same_one(
    run_app, tmp_path, images
):
    """The short one: one command, killed while it trains and commits."""

    def run(workdir, **how):
        return run_app(
            "add_task",
            f"--workdir={workdir}",
            "--task=second",
            f"--data={images / 'second'}",
            *FLAGS,
            "--train_epochs=1",
            below=str(workdir),
            **how,
        )

    whole = run(tmp_path / "whole")
    assert whole.code == 0, whole.stderr
    random = np.random.default_rng(4)
    # In training.
    die_at = int(random.integers(3, whole.touches // 2))
    assert run(tmp_path / "killed", die_at=die_at).code == -9
    # In the commit or export, which are the last writes of what is left.
    shutil.copytree(tmp_path / "killed", tmp_path / "rehearsal")
    left = run(tmp_path / "rehearsal").touches
    die_at = int(random.integers(left // 2, left - 3))
    assert run(tmp_path / "killed", die_at=die_at).code == -9
    ended = run(tmp_path / "killed")
    assert ended.code == 0, ended.stderr
    expected = everything(tmp_path / "whole")
    found = everything(tmp_path / "killed")
    assert [n for n in expected if found.get(n) != expected[n]] == []
    assert found.keys() == expected.keys()
