"""A disk that fails from any write on: one line, and nothing is lost.

It is full, or read-only, or the workdir is taken away.
"""

import re
import shutil

import numpy as np
import pytest
from support.whole_runs import everything

from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.verify import verify

SEED = 3
# What happens, and what the error's line says of it.
FAULTS = {
    "full_at": "No space left",
    "read_only_at": "Read-only file system",
    "gone_at": "gone|No such file",
}
MESSAGES = {**FAULTS, "largest": "File too large"}


def check(commands, whole, workdir, fault, touch):
    """Lets the disk fail at one write, looks, mends it and goes on."""
    where = (fault, touch)
    ended = commands(workdir, **{fault: touch})
    assert ended.code == 1, (where, ended.stdout)
    lines = [x for x in ended.stderr.splitlines() if x.startswith("error: ")]
    assert len(lines) == 1, (where, ended.stderr)
    assert "Traceback" not in ended.stderr, (where, ended.stderr)
    assert re.search(MESSAGES[fault], lines[0]), (where, lines)
    if fault == "gone_at":
        # Nobody made another one.
        assert not workdir.exists(), (where, everything(workdir).keys())
        workdir.with_name("taken").rename(workdir)
    # What was packed before is whole.
    report = verify(Workdir(workdir))
    assert report.ok, (where, str(report))
    ended = commands(workdir)
    assert ended.code == 0, (where, ended.stderr)
    found, expected = everything(workdir), whole[1]
    assert [n for n in expected if found.get(n) != expected[n]] == [], where
    assert found.keys() == expected.keys(), where


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=[pytest.mark.slow] if number else [])
        for number, fault in enumerate(FAULTS)
    ],
)
def test_it_fails_at_some_write(commands, whole, tmp_path, fault):
    random = np.random.default_rng([SEED, list(FAULTS).index(fault)])
    touches = whole[0].touches
    assert touches > 20
    touch = int(random.integers(3, touches - 3))
    check(commands, whole, tmp_path / "w", fault, touch)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_it_fails_at_every_write(commands, whole, tmp_path, fault):
    # Before it is locked, a workdir that is not there is a new one.
    first = 3 if fault == "gone_at" else 1
    for touch in range(first, whole[0].touches + 1):
        check(commands, whole, tmp_path / "w", fault, touch)
        shutil.rmtree(tmp_path / "w")


@pytest.mark.slow
def test_a_file_too_large_whoever_writes_it(commands, whole, tmp_path):
    assert commands(tmp_path / "new").code == 0
    sizes = {
        path: path.stat().st_size
        for path in (tmp_path / "new").rglob("*")
        if path.is_file()
    }
    # TensorFlow writes this one.
    by_tensorflow = tmp_path / "new/serving/packnet/2/saved_model.pb"
    assert sizes[by_tensorflow] in sorted(sizes.values())[-4:]
    for size in sorted(set(sizes.values()))[-4:]:
        check(commands, whole, tmp_path / "w", "largest", size - 1)
        shutil.rmtree(tmp_path / "w")
