"""What a report shows is what the workdir's network and manifests say."""

import math
import shutil
import tarfile

import numpy as np
import pytest
from support import ROOT, tiny_nets
from support.kept_files import needs_keras

from packnet_tf.errors import DataError, TaskError
from packnet_tf.model.extract import extract
from packnet_tf.report.reading import Accuracies, read
from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir


def test_old_tasks_lose_exactly_nothing(reading, workdir):
    accuracies = reading.accuracies
    assert accuracies.measured.tolist() == [[True, False], [True, True]]
    average, forgotten, transfer = accuracies.summary()
    assert (forgotten, transfer) == (0.0, 0.0)
    matrix = accuracies.matrix
    assert matrix[1, 0] == matrix[0, 0] and math.isnan(matrix[0, 1])
    assert average == np.mean(matrix[1])
    # What was recorded at pack is measured again.
    for task in workdir.newest().tasks:
        recorded = task.metrics["test_accuracy"]
        assert matrix[1, task.owner - 1] == recorded


def test_without_data_accuracies_are_those_that_were_recorded(reading, workdir):
    found = read(workdir, evaluate=False)
    assert not found.accuracies.measured.any()
    assert np.array_equal(
        found.accuracies.matrix, reading.accuracies.matrix, equal_nan=True
    )
    assert found.recognition == ()
    assert found.untested == {1: "not evaluated", 2: "not evaluated"}
    assert not found.accuracies.missing


NAN = math.nan


@pytest.mark.parametrize(
    ("matrix", "summary"),
    [
        # The newest task has no data.
        (
            [[0.75, NAN, NAN], [0.75, 0.5, NAN], [0.25, 0.25, NAN]],
            (0.25, 0.375, -0.375),
        ),
        # A task between them has none.
        (
            [[0.5, NAN, NAN], [0.75, NAN, NAN], [0.5, NAN, 1.0]],
            (0.75, 0.25, 0.0),
        ),
        ([[NAN, NAN], [NAN, 0.5]], (0.5, None, None)),
        ([[0.5]], (0.5, 0.0, 0.0)),
        ([[NAN]], None),
    ],
)
def test_what_fell_is_shown_of_the_tasks_that_are_known(matrix, summary):
    matrix = np.array(matrix)
    assert Accuracies(matrix, matrix == matrix, {}).summary() == summary


def test_owners_and_capacity_add_up(reading, workdir):
    net, _ = states.load(workdir)
    counts = {k.path: math.prod(k.variable.shape) for k in net.masked_kernels()}
    assert {k.path: k.weights for k in reading.kernels} == counts
    for kernel in reading.kernels:
        assert kernel.shares.shape == (3,)
        assert kernel.shares.sum() == pytest.approx(1)
    # From the input to the output.
    assert "block1" in reading.kernels[0].path
    assert reading.capacity.sum() + reading.free[-1] == pytest.approx(1)
    assert reading.free[-1] == pytest.approx(net.capacity)
    assert reading.room[0] == pytest.approx(net.capacity / 4)


def test_sizes_are_those_on_disk_and_of_plain_networks(reading, workdir):
    net, _ = states.load(workdir)
    for state, size in zip(workdir.states(), reading.sizes, strict=True):
        assert size.network == state.network_path.stat().st_size
        assert size.served > 0
        plain = sum(
            4 * extract(net, task.name).count_params() for task in state.tasks
        )
        # Seeds of dropout layers are no parameters.
        assert 0 <= size.separate - plain < 100 * len(state.tasks)


def test_training_is_that_of_the_runs(reading):
    first, second = reading.curves
    assert first.pruned.tolist() == pytest.approx([0, 0, 0.4375, 0.5, 0.5])
    assert second.pruned.tolist() == [0, 0, 0.5, 0.5, 0.5]
    assert first.after_pruning is None
    assert 0 <= second.after_pruning <= 1


def test_the_worst_images_are_ranked_by_the_score_of_their_class(reading):
    for found, count in zip(reading.recognition, (12, 8), strict=True):
        assert found.confusion.sum() == count
        right = np.trace(found.confusion) / count
        place = [t.name for t in reading.tasks].index(found.task)
        assert right == reading.accuracies.matrix[-1, place]
        scores = [image.score for image in found.worst]
        assert scores == sorted(scores) and len(scores) == count
        for image in found.worst:
            assert image.pixels.shape == (16, 16, 3)
            # Its path has its class, and its colour is that of the class.
            name = found.class_names[image.label]
            assert f"/test/{name}/" in image.image
            assert np.argmax(image.pixels.mean((0, 1))) == image.label


def test_an_older_state_is_read_alone(workdir):
    found = read(workdir, 1, evaluate=False)
    assert [task.name for task in found.tasks] == ["first"]
    assert found.accuracies.matrix.shape == (1, 1)
    assert len(found.sizes) == 1


def test_wrong_places_are_named(workdir):
    with pytest.raises(TaskError, match="'third'"):
        read(workdir, places={"third": "x"})
    with pytest.raises(DataError, match="nowhere"):
        read(workdir, places={"first": "/nowhere"})


def test_data_may_have_moved(workdir, folders, tmp_path):
    moved = shutil.copytree(folders["first"], tmp_path / "moved")
    found = read(workdir, 1, places={"first": str(moved)})
    assert found.accuracies.measured[0, 0]
    assert str(moved) in found.recognition[0].worst[0].image


def test_a_workdir_of_release_0_1_is_read(tmp_path):
    with tarfile.open(
        ROOT / "tests" / "fixtures" / "workdir_v0_1.tar.xz"
    ) as archive:
        archive.extractall(tmp_path)
    needs_keras("3.15")
    found = read(Workdir(tmp_path / "w"), evaluate=False)
    assert [task.name for task in found.tasks] == ["letters", "hues", "shades"]
    assert found.accuracies.missing == {1: "none was recorded; not evaluated"}
    matrix = found.accuracies.matrix
    assert matrix[1:, 1].tolist() == [1 / 3, 1 / 3] and matrix[2, 2] == 0.5
    assert found.accuracies.summary()[1:] == (0.0, 0.0)
    assert found.curves[0].spans[0].phase == "recovery"


def test_a_workdir_of_a_python_program_needs_no_run_record(tmp_path):
    workdir = tiny_nets.packed_workdir(tmp_path / "w", ("one",), serve=())
    assert workdir.run is None
    found = read(workdir)
    assert found.untested == {1: "no data"}
    assert found.sizes[0].served is None
