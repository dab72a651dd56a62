"""Benchmarks for machines that CI is not: that they run at all."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support import ROOT


def ran(program, *options):
    """Runs a benchmark; returns what it printed."""
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / f"{program}.py", *options],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_the_check_of_a_gpu_runs_without_one(tmp_path):
    ran("gpu_check", "--smoke", f"--json={tmp_path / 'gpu.json'}")
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["smoke"]
    kept = [
        (row["policy"], row["xla_in_training"], row["deterministic"])
        for row in found["promise"]
        if row["later_states"] and row["saved_model"] and row["digests"]
    ]
    assert len(kept) == len(set(kept)) == 6
    assert [row["network"] for row in found["steps"]] == [
        "mobilenet",
        "resnet50",
    ]
    assert len(found["served"]) == 4
    assert found["pipeline"]["later"] > 0


@pytest.mark.slow
def test_studies_are_run_once(shared, tmp_path):
    file = tmp_path / "rows.jsonl"
    command = [
        "studies",
        "--smoke",
        "--seeds=0",
        "--studies=fraction,shares",
        f"--shared={shared}",
        f"--file={file}",
    ]
    first = ran(*command)
    rows = file.read_text()
    lines = [json.loads(line) for line in rows.splitlines()]
    # Two tasks: of the half that the base task leaves, and of a network
    # without weights.
    free = [0.5 * 0.5**2, 0.5 * 0.75**2, 18 / 20, 0.5**2]
    assert [line["free"] for line in lines] == pytest.approx(free, abs=0.01)
    assert [line["base"] is None for line in lines] == [False] * 2 + [True] * 2
    again = ran(*command, f"--pictures={tmp_path}")
    assert again.strip() in first
    assert file.read_text() == rows
    for name in ("fraction", "shares"):
        assert "validation accuracy" in (tmp_path / f"{name}.svg").read_text()


@pytest.mark.slow
def test_jobs_that_avalanche_has_too(shared, tmp_path):
    file = tmp_path / "rows.json"
    ran(
        "beside_avalanche",
        "--smoke",
        "--seeds=0",
        f"--shared={shared}",
        f"--json={file}",
    )
    lines = json.loads(file.read_text())
    assert len(lines) == 6
    assert all(line["unchanged"] and line["moved"] == 0 for line in lines)


def test_the_check_of_a_gpu_needs_one(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            ROOT / "benchmarks" / "gpu_check.py",
            f"--json={tmp_path / 'gpu.json'}",
        ],
        capture_output=True,
        text=True,
        env={"CUDA_VISIBLE_DEVICES": "-1", "PATH": ""},
    )
    assert done.returncode == 1
    assert "error: no GPU was found; --smoke runs without one" in done.stderr
    assert not (tmp_path / "gpu.json").exists()


@pytest.mark.slow
def test_the_base_task_of_a_network_trained_here(tmp_path):
    rng = np.random.default_rng(0)
    data = tmp_path / "data"
    for folder in (data / "birds" / "train" / name for name in "ab"):
        folder.mkdir(parents=True)
        for number in range(32):
            pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    np.savez(
        data / "fashion_mnist.npz",
        x_train=rng.integers(0, 256, (128, 28, 28), np.uint8),
        y_train=np.arange(128) % 10,
        x_test=rng.integers(0, 256, (64, 28, 28), np.uint8),
        y_test=np.arange(64) % 10,
    )

    def run(*arguments):
        file = f"--file={tmp_path / 'rows.jsonl'}"
        return ran("base_task", file, *arguments)

    settings = [
        f"--shared={tmp_path}",
        f"--trained={tmp_path / 'trained'}",
        "--networks=cnn",
        "--train_epochs=2",
        "--fractions=0.5",
        "--scopes=global",
        "--only_new",
    ]
    run(*settings, "--fits=none,birds:64")
    trained = tmp_path / "trained" / "cnn.keras"
    before = trained.read_bytes()
    # What was trained and measured is not done again.
    last = run(*settings, "--fits=birds:64,own:64")
    assert [json.loads(line)["fit"] for line in last.splitlines()] == ["own:64"]
    assert trained.read_bytes() == before
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["fit"] for row in rows] == ["none", "birds:64", "own:64"]
    assert len({row["unpruned"] for row in rows}) == 1
    assert all(row["network"] == "cnn" for row in rows)
    assert all(0.49 < row["capacity"] < 0.51 for row in rows)
    _, _, *shown = run("--table").splitlines()
    assert [line.split()[:4] for line in shown] == [
        ["cnn", "0.5", "global", fit] for fit in ("birds:64", "none", "own:64")
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "options", "rows"),
    [
        ("switching", ["--tasks=2", "--pairs=1", "--images=16"], 4),
        ("network_size", ["--image_size=32", "--width=16"], 34),
        ("many_tasks", ["--tasks=5", "--each=12"], 8),
        ("train_memory", ["--networks=mobilenet", "--steps=1"], 2),
    ],
)
def test_a_benchmark_prints_its_rows(tmp_path, program, options, rows):
    shown = ran(program, *options, f"--json={tmp_path / 'rows.json'}")
    found = json.loads((tmp_path / "rows.json").read_text())
    assert len(found["rows"] if program == "many_tasks" else found) == rows
    verdicts = [line.split()[-1] for line in shown.splitlines()]
    assert verdicts.count("held") + verdicts.count("MISSED") == rows


@pytest.mark.slow
def test_the_cost_of_workers_is_measured(tmp_path):
    file = f"--json={tmp_path / 'workers.json'}"
    ran("workers", "--smoke", "--workers=1,2", file)
    one, two = json.loads((tmp_path / "workers.json").read_text())
    assert (one["workers"], two["workers"]) == (1, 2)
    # Each gradient is summed once.
    assert one["all_reduced_bytes"] == 0
    assert two["all_reduced_bytes"] == two["trainable_bytes"]
