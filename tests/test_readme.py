"""The README is short, and its commands and programs do what it says."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from support import ROOT
from support.documents import README, blocks
from support.tour import TOUR, notebook


def test_first_command_installs_and_runs_the_demo():
    (command,) = blocks(README, "sh")[0].splitlines()
    assert 'pip install -e ".[demo]"' in command
    assert command.endswith("&& python apps/demo.py")


def test_second_command_installs_and_runs_the_tests():
    (command,) = blocks(README, "sh")[1].splitlines()
    assert 'pip install -e ".[all]"' in command
    assert "&& python -m pytest tests" in command


def test_continuous_integration_takes_the_second_command(tmp_path):
    # Commands that only say what they would do.
    for name in ("python3", "pip", "ruff", "mypy"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 0\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "python").write_text("#!/bin/sh\necho 3 passed in 1.00s\n")
    (tmp_path / "python").chmod(0o755)
    clone = tmp_path / "clone"
    (clone / ".ci").mkdir(parents=True)
    (clone / ".ci/run").write_bytes((ROOT / ".ci/run").read_bytes())
    (clone / "README.md").write_text(
        README.read_text().replace(". .venv/bin/activate", "true")
    )

    def run():
        return subprocess.run(
            ["bash", ".ci/run"],
            cwd=clone,
            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
        )

    answer = run()
    assert answer.returncode == 0, answer.stdout + answer.stderr
    lines = answer.stdout.splitlines()
    assert "python3 -m venv build/ci-venv" in lines[0]
    assert lines[-1] == "3 passed in 1.00s"
    (tmp_path / "python").write_text("#!/bin/sh\necho 1 failed in 1s\nexit 1\n")
    answer = run()
    assert answer.returncode == 1
    assert answer.stdout.splitlines()[-1] == "1 failed in 1s"


def test_the_notebook_is_made_of_the_readme():
    # PYTHONPATH=tests python -m support.tour
    assert TOUR.read_text() == notebook()


def test_the_notebook_runs(tmp_path, monkeypatch):
    for package in ("sklearn", "ipykernel", "nbclient"):
        pytest.importorskip(package)
    import nbclient
    import nbformat

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    tour = nbformat.read(TOUR, as_version=4)
    client = nbclient.NotebookClient(
        tour, timeout=600, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    shown = "".join(
        output.get("text", "")
        for cell in tour.cells
        for output in cell.get("outputs", ())
    )
    assert "low {'accuracy'" in shown and "(free)" in shown
    assert (tmp_path / "net.keras").is_file()


def test_the_dockerfiles_files_are_all_that_its_commands_need(tmp_path):
    """It is built by hand; this does what its lines say, in a folder."""
    lines = (ROOT / "Dockerfile").read_text()
    for names, target in re.findall(r"^COPY (.*) (\S+)$", lines, re.M):
        for name in names.split():
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tmp_path / target)
            else:
                shutil.copy(ROOT / name, tmp_path / target)
    # What pip reads of it; the extra is one of those.
    (extra,) = re.findall(r'^RUN pip install .* -e "\.\[(\w+)\]"', lines, re.M)
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "egg_info"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (wanted,) = tmp_path.glob("*.egg-info/requires.txt")
    assert f"[{extra}]" in wanted.read_text()
    # What runs, alone and with arguments in place of CMD's.
    entry, command = (
        json.loads(re.search(rf"^{word} (.*)$", lines, re.M)[1])
        for word in ("ENTRYPOINT", "CMD")
    )
    assert entry == ["python"]
    for given in (command, ["apps/add_task.py"]):
        done = subprocess.run(
            [sys.executable, *given, "--help"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert f"python {given[0]}" in done.stdout


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 200
