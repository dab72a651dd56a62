"""The job files in examples/: they start what they say, with a TF_CONFIG.

In place of a cluster's programs stand small ones, that run the workers on
this machine; in place of training stands a program that prints what it got.
"""

import json
import os
import stat
import subprocess
import sys

import pytest
import yaml
from support import ROOT

from packnet_tf.options.cluster import parse_cluster

PYTHON = """#!/bin/sh
echo "$TF_CONFIG" > "$OUTPUT/config$WHO"
echo "$@" > "$OUTPUT/arguments$WHO"
exit "${FAILS:-0}"
"""
# Two nodes, both of which are this machine.
SCONTROL = "#!/bin/sh\necho 127.0.0.1\necho localhost\n"
SRUN = """#!/bin/sh
shift
for index in 0 1; do
  WHO=$index SLURM_PROCID=$index "$@" &
  workers="$workers $!"
done
for worker in $workers; do wait $worker || failed=1; done
exit ${failed:-0}
"""


@pytest.fixture
def cluster(tmp_path):
    """An environment with stand-ins for the programs of a cluster."""
    programs = {"python": PYTHON, "scontrol": SCONTROL, "srun": SRUN}
    for name, text in programs.items():
        path = tmp_path / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {
        **os.environ,
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "OUTPUT": str(tmp_path),
    }


def check_started(folder, flags):
    for index in range(2):
        found = parse_cluster((folder / f"config{index}").read_text())
        assert found.index == index
        assert len(found.workers) == 2
        arguments = (folder / f"arguments{index}").read_text().split()
        assert arguments[0] == "apps/add_task.py"
        assert "--strategy=multi_worker" in arguments
        assert set(flags) <= set(arguments)
    configs = [
        json.loads((folder / f"config{index}").read_text())["cluster"]
        for index in range(2)
    ]
    assert configs[0] == configs[1]


def run_slurm(cluster, *flags, **more):
    return subprocess.run(
        ["bash", ROOT / "examples" / "workers.slurm", *flags],
        env={
            **cluster,
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NODELIST": "node[1-2]",
            **more,
        },
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def test_the_slurm_file_starts_a_worker_on_each_node(cluster, tmp_path):
    flags = ["--workdir=/shared/runs/m", "--task=birds"]
    done = run_slurm(cluster, *flags)
    assert done.returncode == 0, done.stderr
    check_started(tmp_path, flags)


def test_the_slurm_file_begins_again_three_times(cluster):
    done = run_slurm(cluster, FAILS="1")
    assert done.returncode == 1
    assert done.stderr.count("ended with an error") == 3


def jobset():
    text = (ROOT / "examples" / "workers.jobset.yaml").read_text()
    return yaml.safe_load(text)


def test_the_pods_of_the_jobset_start_the_workers(cluster, tmp_path):
    found = jobset()
    job = found["spec"]["replicatedJobs"][0]
    indexed = job["template"]["spec"]
    (container,) = indexed["template"]["spec"]["containers"]
    env = {one["name"]: one["value"] for one in container["env"]}
    count = int(env["WORKERS"])
    assert count == indexed["parallelism"] == indexed["completions"]
    for index in range(count):
        # What Kubernetes sets in an indexed job.
        subprocess.run(
            [*container["command"], *container["args"]],
            env={
                **cluster,
                **env,
                "JOB_COMPLETION_INDEX": str(index),
                "WHO": str(index),
            },
            check=True,
        )
    check_started(tmp_path, [])
    # The names that JobSet gives to its pods.
    name, subdomain = found["metadata"]["name"], found["spec"]["network"]
    config = parse_cluster((tmp_path / "config0").read_text())
    for index, address in enumerate(config.workers):
        host = f"{name}-{job['name']}-0-{index}.{subdomain['subdomain']}"
        assert address == f"{host}:{2222 + index}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["slurm", "jobset"])
def test_what_the_files_start_trains(cluster, tmp_path, images, kind):
    """The real program, on this machine."""
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    workdir = tmp_path / "w"
    flags = [
        f"--workdir={workdir}",
        "--task=first",
        f"--data={images / 'first'}",
        "--network=cnn",
        "--network_options=width=4",
        "--weights=none",
        "--image_size=16",
        "--train_epochs=1",
        "--retrain_epochs=1",
        "--batch_size=8",
    ]
    if kind == "slurm":
        done = run_slurm(cluster, *flags)
        assert done.returncode == 0, done.stderr
    else:
        spec = jobset()["spec"]["replicatedJobs"][0]["template"]["spec"]
        script = spec["template"]["spec"]["containers"][0]["args"][0]
        script = script.replace("packnet-workers-0-$i.packnet", "127.0.0.1")
        # The same program, with the flags of a small run.
        script = script[: script.index("multi_worker")] + "multi_worker "
        pods = [
            subprocess.Popen(
                ["bash", "-c", script + " ".join(flags)],
                env={
                    **cluster,
                    "WORKERS": "2",
                    "JOB_COMPLETION_INDEX": str(index),
                },
                cwd=ROOT,
            )
            for index in range(2)
        ]
        assert [pod.wait() for pod in pods] == [0, 0]
    assert (workdir / "states" / "001-first").is_dir()
