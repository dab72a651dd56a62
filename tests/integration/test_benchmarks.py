"""Benchmarks for machines that CI is not: that they run at all."""

import json
import subprocess
import sys

import pytest
from support import ROOT


@pytest.mark.slow
def test_the_check_of_a_gpu_runs_without_one(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            ROOT / "benchmarks" / "gpu_check.py",
            "--smoke",
            f"--json={tmp_path / 'gpu.json'}",
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
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
