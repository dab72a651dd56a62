"""apps/compare.py from images to the table, interrupted; its page after."""

import json
import shutil
import signal

import pytest
from support.tiny_runs import TINY

METHODS = ("packnet", "individual")


@pytest.fixture(scope="module")
def compare(run_app, images, tmp_path_factory):
    """Returns a function that runs the comparison in one folder."""
    workdir = tmp_path_factory.mktemp("compare") / "c"

    def run(*more, first=images / "first", **how):
        return run_app(
            "compare",
            f"--workdir={workdir}",
            "--tasks=first,second",
            f"--data=first={first}",
            f"--data=second={images / 'second'}",
            *TINY,
            f"--methods={','.join(METHODS)}",
            "--seeds=0",
            "--learning_rates=4e-3",
            "--prune_fraction=equal_share",
            *more,
            **how,
        )

    run.workdir = workdir
    return run


@pytest.fixture(scope="module")
def ended(compare):
    """A comparison that Ctrl-C stopped in its second cell, then whole."""
    first = compare(f"--methods={METHODS[0]}")
    assert first.code == 0, first.stderr
    cells = compare.workdir / "cells"
    (path,) = cells.iterdir()
    before = path.read_bytes()
    # The second method reads its plan and the cell, then makes its folder.
    stopped = compare(below=str(compare.workdir / "work"), interrupt_at=1)
    assert stopped.code == 128 + signal.SIGINT
    assert stopped.stderr == (
        "interrupted; finished cells are kept, the one in progress is run "
        "again. Run the same command again to go on.\n"
    )
    whole = compare()
    assert whole.code == 0, whole.stderr
    assert path.read_bytes() == before
    return whole


def test_the_table_has_every_method(compare, ended):
    assert "2/2  individual  seed 0  validation " in ended.stdout
    lines = ended.stdout.splitlines()
    rows = [line.split() for line in lines if line.startswith(METHODS)]
    assert [(row[0], row[1], row[2]) for row in rows] == [
        (method, "0.004", "1") for method in METHODS
    ]
    found = json.loads((compare.workdir / "comparison.json").read_bytes())
    packnet, individual = found["rows"]
    assert packnet["forgetting"] == packnet["backward_transfer"] == 0
    assert individual["forgetting"] == 0
    assert packnet["difference"]["mean"] == pytest.approx(
        packnet["accuracy"] - individual["accuracy"]
    )
    assert not (compare.workdir / "work").exists()


def test_what_is_done_is_not_done_again(compare, ended):
    again = compare()
    assert again.code == 0, again.stderr
    assert "epoch" not in again.stdout
    table = ended.stdout[ended.stdout.index("method ") :]
    assert again.stdout.endswith(table)


def test_the_page_of_a_comparison(run_app, compare, ended):
    pytest.importorskip("matplotlib")
    drawn = run_app("report", f"--comparison={compare.workdir}", "--png")
    assert drawn.code == 0, drawn.stderr
    page, picture = drawn.stdout.splitlines()
    assert page == str(compare.workdir / "report.html")
    assert picture.endswith("report-methods.png")


@pytest.mark.parametrize(
    "flags, line",
    [
        (
            ["--methods=pacnet"],
            "--methods=pacnet: unknown method 'pacnet'; did you mean packnet? ",
        ),
        (["--methods="], "--methods=: expected one or more"),
        (["--seeds=0,x"], "--seeds=0,x: 'x' is not a number; expected whole"),
        (["--seeds=-1"], "--seeds=-1: -1 is out of range; expected 0 to "),
        (["--learning_rates=0"], "--learning_rates=0.0: 0.0 is out of range"),
        (["--tasks=first,first"], "--tasks=first,first: first is given twice"),
        (["--data=third=x"], "--data=third=x: 'third' is not one of --tasks="),
        (["--image_key=third=x"], "--image_key=third=x: 'third' is not one of"),
        (["--label_key=first=kind"], "--label_key=kind: only data of TFDS has"),
        (["--lora_rank=0"], "--lora_rank=0: expected 1"),
        (
            ["--tasks=first,second,thrid"],
            "Unknown task 'thrid'",
        ),
        (
            ["--image_size=24"],
            "--image_size=24: the comparison in ",
        ),
        (["--tasks=second,first"], "--tasks=second,first: the comparison in "),
    ],
)
def test_bad_input_is_one_line_that_names_it(compare, ended, flags, line):
    found = compare(*flags)
    assert found.code == 1
    assert found.stderr.startswith(f"error: {line}"), found.stderr
    assert found.stderr.count("\n") == 1


def test_corrupt_images_are_left_out(compare, ended, images, tmp_path):
    shutil.copytree(images / "first", tmp_path / "first")
    bad = min((tmp_path / "first" / "train").glob("*/*"))
    bad.write_bytes(b"no image")
    found = compare(first=tmp_path / "first")
    assert f"{bad}: " in found.stderr and "--skip_corrupt" in found.stderr
    found = compare("--skip_corrupt", first=tmp_path / "first")
    assert f"left out:\n  {bad}" in found.stdout
    # That is one image less than the comparison began with.
    assert "error: The data of task 'first' has " in found.stderr


@pytest.mark.parametrize(
    "flags, line",
    [
        (["--workdir=w"], "--workdir has no effect with --comparison"),
        (["--output=x.pdf"], "--output=x.pdf: expected a file that ends in"),
        ([], "nowhere: cannot be read (No such file or directory)"),
    ],
)
def test_bad_input_of_the_page(run_app, flags, line):
    pytest.importorskip("matplotlib")
    found = run_app("report", "--comparison=nowhere", *flags)
    assert found.code == 1
    assert found.stderr.startswith(f"error: {line}"), found.stderr
