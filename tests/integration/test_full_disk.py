"""A disk that is full from any write on: one line, and nothing is lost."""

import shutil

import numpy as np
import pytest
from whole_runs import FLAGS, everything

from packnet_tf.verification import verify
from packnet_tf.workdir import Workdir

SEED = 3
FEW = 3


@pytest.fixture(scope="module")
def commands(run_app, images, tmp_path_factory):
    """Returns what adds the second task to a copy of a workdir of the first.

    It is called with a folder, and faults as for `run_app`.
    """
    first = tmp_path_factory.mktemp("first") / "w"

    def run(workdir, task, **how):
        return run_app(
            "add_task",
            f"--workdir={workdir}",
            f"--task={task}",
            f"--data={images / task}",
            *FLAGS,
            "--train_epochs=1",
            below=str(workdir),
            **how,
        )

    ended = run(first, "first")
    assert ended.code == 0, ended.stderr

    def add(workdir, **how):
        if not workdir.exists():
            shutil.copytree(first, workdir)
        return run(workdir, "second", **how)

    return add


@pytest.fixture(scope="module")
def whole(commands, tmp_path_factory):
    """A run without faults: how it ended, and all that it left."""
    workdir = tmp_path_factory.mktemp("whole") / "w"
    ended = commands(workdir)
    assert ended.code == 0, ended.stderr
    return ended, everything(workdir)


def check(commands, whole, workdir, full_at):
    """Fills the disk at one write, looks, empties it and goes on."""
    ended = commands(workdir, full_at=full_at)
    assert ended.code == 1, (full_at, ended.stdout)
    lines = [x for x in ended.stderr.splitlines() if x.startswith("error: ")]
    assert len(lines) == 1, (full_at, ended.stderr)
    assert "Traceback" not in ended.stderr, (full_at, ended.stderr)
    assert "No space left" in lines[0], (full_at, lines)
    # What was packed before is whole.
    report = verify(Workdir(workdir))
    assert report.ok, (full_at, str(report))
    ended = commands(workdir)
    assert ended.code == 0, (full_at, ended.stderr)
    found, expected = everything(workdir), whole[1]
    assert [n for n in expected if found.get(n) != expected[n]] == [], full_at
    assert found.keys() == expected.keys()


def test_a_full_disk_at_some_writes(commands, whole, tmp_path):
    random = np.random.default_rng(SEED)
    touches = whole[0].touches
    assert touches > 20
    for full_at in random.integers(2, touches - 3, FEW).tolist():
        check(commands, whole, tmp_path / str(full_at), full_at)


@pytest.mark.slow
def test_a_full_disk_at_every_write(commands, whole, tmp_path):
    for full_at in range(1, whole[0].touches + 1):
        check(commands, whole, tmp_path / "w", full_at)
        shutil.rmtree(tmp_path / "w")
