"""Ctrl-C or SIGTERM at any moment: one line, and the same command goes on.

At writes to the workdir, so that commits and exports are hit too, and by the
clock.
"""

import re
import shutil
import signal

import numpy as np
import pytest
from support.whole_runs import everything

from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.verify import verify

SEED = 5
CLOCKED = 12


def check(commands, whole, workdir, codes, **how):
    """Interrupts a command, looks, and lets the same one go on.

    Returns:
        Whether it was interrupted; it may have been over.
    """
    ended = commands(workdir, **how)
    assert ended.code in codes, (how, ended.stdout, ended.stderr)
    if ended.code > 0:
        lines = ended.stderr.strip().splitlines()
        assert len(lines) == 1, (how, ended.stderr)
        assert re.match("interrupted; .* the same command again", lines[0])
    report = verify(Workdir(workdir))
    assert report.ok, (how, str(report))
    again = commands(workdir)
    assert again.code == 0, (how, again.stderr)
    found, expected = everything(workdir), whole[1]
    assert [n for n in expected if found.get(n) != expected[n]] == [], how
    assert found.keys() == expected.keys(), how
    return ended.code != 0


def test_ctrl_c_at_some_write(commands, whole, tmp_path):
    random = np.random.default_rng(SEED)
    touch = int(random.integers(3, whole[0].touches - 3))
    assert check(commands, whole, tmp_path / "w", {130}, interrupt_at=touch)


@pytest.mark.slow
def test_ctrl_c_at_every_write(commands, whole, tmp_path):
    for touch in range(1, whole[0].touches + 1):
        assert check(commands, whole, tmp_path / "w", {130}, interrupt_at=touch)
        shutil.rmtree(tmp_path / "w")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_by_the_clock(commands, whole, tmp_path, number):
    random = np.random.default_rng([SEED, number])
    # While it begins, nothing has been done, and it ends in silence.
    codes = {0, 128 + number, -number}
    hit = 0
    for second in random.uniform(0, whole[0].seconds, CLOCKED):
        hit += check(
            commands,
            whole,
            tmp_path / "w",
            codes,
            signal_after=[number, float(second)],
        )
        shutil.rmtree(tmp_path / "w")
    assert hit > CLOCKED // 2
