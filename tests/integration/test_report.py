"""The report as an app: what it writes, and what it refuses at once."""

import pathlib
import subprocess
import sys

import pytest
from support import ROOT
from support.pages import read_page

# Runs an app where matplotlib is not installed, and tells what it imported.
WITHOUT = """
import runpy, sys
sys.modules["matplotlib"] = None
sys.argv = ["apps/report.py", *sys.argv[1:]]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("tensorflow" in sys.modules)
"""


def test_a_page_and_its_figures_are_written(run_app, packed, tmp_path):
    pytest.importorskip("matplotlib")
    page = tmp_path / "new" / "page.html"
    ended = run_app(
        "report", f"--workdir={packed}", f"--output={page}", "--png"
    )
    assert ended.code == 0, ended.stderr
    written = ended.stdout.splitlines()
    assert written[0] == str(page) and len(written) == 8
    assert {*written} == {str(path) for path in page.parent.iterdir()}
    found = read_page(page.read_text())
    assert len(found.images) == 7 and not found.missing
    recorded = run_app(
        "report", f"--workdir={packed}", f"--output={page}", "--evaluate=false"
    )
    assert recorded.stdout.splitlines() == [str(page)]
    found = read_page(page.read_text())
    assert len(found.images) == 5
    assert found.missing == ["No test images of colours: not evaluated."]


@pytest.mark.parametrize(
    "flags, line",
    [
        (["--output=x"], "--output=x: expected a file that ends in .html."),
        (
            ["--output=/proc/none/x.html"],
            "--output=/proc/none: cannot write to /proc",
        ),
        (["--data=a=b", "--evaluate=false"], "--data has no effect with"),
        (["--data=a"], "--data=a: expected NAME=VALUE."),
        (["--data=other=x"], "Unknown task 'other'"),
        (["--prune_fraction=1"], "prune_fraction is 1.0; expected"),
        (["--batch_size=0"], "--batch_size=0"),
        (["--state=7"], "no packed state '7'"),
    ],
)
def test_a_mistake_is_one_line(run_app, packed, flags, line):
    ended = run_app("report", f"--workdir={packed}", *flags)
    assert ended.code == 1 and ended.stdout == ""
    assert ended.stderr.startswith("error: ") and line in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_without_matplotlib_a_line_says_how_to_get_it(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT, f"--workdir={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "error: A report is drawn by matplotlib, which is not installed; run "
        'pip install "packnet_tf[report]".\n'
    )
    # Nothing slow came before.
    assert ended.stdout == "False\n"


@pytest.mark.slow
def test_the_demo_ends_with_its_report(run_app, tmp_path):
    for package in ("matplotlib", "mlxtend", "sklearn"):
        pytest.importorskip(package)
    ended = run_app("demo", f"--workdir={tmp_path / 'demo'}")
    assert ended.code == 0, ended.stderr
    path = tmp_path / "demo" / "report.html"
    lines = ended.stdout.splitlines()
    assert "minutes on two CPU cores" in lines[0]
    place = [line.split() for line in lines].index(["report", str(path)])
    # What to run next are commands that work.
    assert lines[place + 2] == "What to run next:"
    for line in lines[place + 3 :]:
        if line.startswith("  python apps/") and "FOLDER" not in line:
            _, app, *flags = line.split()
            again = run_app(pathlib.Path(app).stem, *flags)
            assert again.code in (0, None), again.stderr
    found = read_page(path.read_text())
    assert len(found.images) == 13 and not found.missing
    assert "forgetting 0.0000, backward transfer 0.0000" in found.text
