"""Workdirs of every release are read for ever; these were kept."""

import pathlib
import tarfile

import numpy as np
import pytest
from support import tiny_nets

from packnet_tf.storage import golden, states
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.verify import verify

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"
KEPT = sorted(FIXTURES.glob("workdir_*.tar.xz"))


@pytest.fixture(params=KEPT, ids=lambda path: path.name.split(".")[0])
def workdir(request, tmp_path):
    with tarfile.open(request.param) as archive:
        # Our own file; the first releases of Python 3.11 know no `filter`.
        archive.extractall(tmp_path)
    return Workdir(tmp_path / "w")


def test_it_is_verified(workdir):
    report = verify(workdir)
    assert report.ok, str(report)
    # Tasks of both states, by their networks and SavedModels.
    assert sum("probe, " in f.text for f in report.findings) == 6


def test_its_tasks_answer_and_more_are_added(workdir):
    net, state = states.load(workdir)
    assert [task.name for task in net.tasks] == ["colours", "shades"]
    images, kept = golden.read_probe(state)
    program = state.manifest["probe"]
    before = golden.probe_logits(net, images, program)
    for name, logits in kept.items():
        # Bytes are for the machine that wrote them.
        assert np.abs(before[name] - logits).max() < 1e-4
    tiny_nets.add_packed(net, "more")
    states.commit(workdir, net, probe_images=images)
    read, state = states.load(workdir)
    assert state.manifest["schema"] == 2
    after = golden.probe_logits(read, images, program)
    for name in kept:
        assert after[name].tobytes() == before[name].tobytes()


def test_there_is_one_of_each_schema():
    assert [path.name for path in KEPT] == [
        "workdir_schema_1.tar.xz",
        "workdir_schema_2.tar.xz",
    ]
    assert all(path.stat().st_size < 300_000 for path in KEPT)
