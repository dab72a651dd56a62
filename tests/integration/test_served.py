"""What is served answers real image files as they were evaluated."""

import subprocess
import sys

import pytest
from support import ROOT
from support.tiny_runs import TINY


def columns(text, task):
    """Returns a task's line of a table, in words."""
    (line,) = [
        line for line in text.splitlines() if line.startswith(f"{task} ")
    ]
    return line.split()


def check_served_as_evaluated(run_app, workdir, task):
    evaluated = run_app("evaluate", f"--workdir={workdir}")
    assert evaluated.code == 0, evaluated.stderr
    served = subprocess.run(
        [sys.executable, "benchmarks/served.py", f"--workdir={workdir}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert served.returncode == 0, served.stderr[-3000:]
    name, _, images, accuracy, *_ = columns(evaluated.stdout, task)
    found = columns(served.stdout, task)
    assert found[:4] == [name, images, accuracy, accuracy]
    # One task alone: the most certain is always the right one.
    assert found[4:6] == ["1.0000", accuracy]


def test_image_files_are_answered_as_evaluated(run_app, packed):
    check_served_as_evaluated(run_app, packed, "colours")


@pytest.mark.slow
def test_real_image_files_are_answered_as_evaluated(run_app, shared, tmp_path):
    workdir = tmp_path / "w"
    ended = run_app(
        "add_task",
        f"--workdir={workdir}",
        "--task=cars",
        f"--data={shared / 'data' / 'cars'}",
        *TINY,
        "--image_size=32",
        "--batch_size=32",
    )
    assert ended.code == 0, ended.stderr
    check_served_as_evaluated(run_app, workdir, "cars")
