import shutil

import numpy as np
import pytest
from PIL import Image
from support import tiny_nets

from packnet_tf.errors import DataError, StateError, TaskError
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.task import TaskOptions
from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow import report, test_data
from packnet_tf.workflow.evaluate import evaluate_tasks, predict_files
from packnet_tf.workflow.forecast import forecast

NAMES = ("ant", "bee", "cat")


@pytest.fixture
def workdir(tmp_path):
    """A workdir with a base task without a head, and two tasks."""
    workdir = Workdir(tmp_path / "w")
    workdir.create(NetworkOptions(image_size=tiny_nets.SIZE))
    net = tiny_nets.packed_net(())
    for name, classes in (("base", 0), ("one", 3), ("two", 3)):
        names = NAMES if classes else None
        tiny_nets.add_packed(net, name, classes, class_names=names)
        states.commit(workdir, net)
    return workdir


def test_every_task_has_a_line(workdir, image_folder):
    images = image_folder(count=3)
    rows = evaluate_tasks(workdir, {"two": str(images)}, batch_size=4)
    assert [(r.task, r.classes, r.images, r.note) for r in rows] == [
        ("base", 0, None, "no head"),
        ("one", 3, None, "no data"),
        ("two", 3, 9, ""),
    ]
    assert rows[1].accuracy is None
    assert 9 * rows[2].accuracy in range(10)
    # Half of what was free went to each.
    owned = [row.owned for row in rows]
    assert owned == pytest.approx([0.5, 0.25, 0.125], abs=0.02)
    assert rows[2].free_after == pytest.approx(1 - sum(owned))


def test_classes_have_a_line_each_where_asked_for(workdir, image_folder):
    places = {"two": str(image_folder(NAMES, count=3))}
    with pytest.raises(TaskError, match="Unknown task 'three'"):
        evaluate_tasks(workdir, places, in_detail=["three"])
    row = evaluate_tasks(workdir, places, in_detail=["two"])[-1]
    assert [(c.name, c.images) for c in row.by_class] == [(n, 3) for n in NAMES]
    assert sum(c.right for c in row.by_class) == round(9 * row.accuracy)
    lines = report.of_classes(row).splitlines()
    head = "two images accuracy most taken for"
    assert lines[0].split() == head.split()
    assert [line.split()[0] for line in lines[2:]] == list(NAMES)


@pytest.mark.parametrize("facts", [{}, {"skipped": ["x.jpg"]}])
def test_what_was_left_out_is_left_out_again(tmp_path, image_folder, facts):
    images = image_folder(NAMES, count=3)
    (images / "test" / "bee" / "001.jpg").write_bytes(b"")
    workdir = Workdir(tmp_path / "w")
    workdir.create(NetworkOptions(image_size=tiny_nets.SIZE))
    net = tiny_nets.packed_net(())
    tiny_nets.add_packed(net, "one", 3, class_names=NAMES)
    facts = {"data": {"data": str(images), **facts}}
    states.commit(workdir, net, facts=facts)
    if facts["data"].get("skipped"):
        assert evaluate_tasks(workdir)[0].images == 8
    else:
        with pytest.raises(DataError, match="bee/001.jpg: The file is not"):
            evaluate_tasks(workdir)


def test_data_that_is_refused_is_no_data_with_its_reason(
    tmp_path, image_folder
):
    images = image_folder(NAMES, count=3)
    workdir = Workdir(tmp_path / "w")
    workdir.create(NetworkOptions(image_size=tiny_nets.SIZE))
    net = tiny_nets.packed_net(())
    tiny_nets.add_packed(net, "one", 3, class_names=NAMES)
    states.commit(workdir, net, facts={"data": {"data": str(images)}})
    shutil.rmtree(images / "test" / "cat")
    (row,) = evaluate_tasks(workdir)
    assert row.images is None and row.accuracy is None
    reason = f"The data folder {images} has different class folders in "
    assert row.note.startswith(f"not read: {reason}")
    *lines, last = report.of_evaluation([row]).splitlines()
    assert lines[-1].split()[:5] == ["one", "3", "-", "not", "read"]
    assert last.startswith(f"one: {reason}") and not last.endswith("..")
    shutil.rmtree(images)
    (row,) = evaluate_tasks(workdir)
    assert f"{images} does not exist" in row.note


def test_an_older_state_has_fewer_lines(workdir):
    for which in (2, "2", "one"):
        rows = evaluate_tasks(workdir, which=which)
        assert [row.task for row in rows] == ["base", "one"]


def test_no_task_is_evaluated_before_all_data_is_found(
    workdir, image_folder, monkeypatch
):
    places = {"one": str(image_folder(NAMES)), "two": "/nowhere"}

    def scores(*_):
        raise AssertionError("a task was evaluated")

    monkeypatch.setattr(test_data, "scores", scores)
    with pytest.raises(DataError, match="/nowhere"):
        evaluate_tasks(workdir, places)


def test_wrong_places_are_named(workdir, image_folder):
    with pytest.raises(TaskError, match="'three'"):
        evaluate_tasks(workdir, {"three": "x"})
    with pytest.raises(DataError, match="nowhere"):
        evaluate_tasks(workdir, {"one": "/nowhere"})
    two = image_folder(("ant", "bee"), name="two")
    with pytest.raises(DataError, match="2 classes, but task 'one' has 3"):
        evaluate_tasks(workdir, {"one": str(two)})
    others = image_folder(("ant", "bug", "cat"), name="others")
    with pytest.raises(DataError, match="class 'bug'"):
        evaluate_tasks(workdir, {"one": str(others)})
    train = image_folder(parts=("train",), name="train_only")
    rows = evaluate_tasks(workdir, {"one": str(train)})
    assert rows[1].note == "no test split"


def test_a_corrupt_image_is_named(workdir, image_folder):
    images = image_folder()
    bad = images / "test" / "bee" / "001.jpg"
    bad.write_bytes(bad.read_bytes()[:-60])
    with pytest.raises(DataError, match="bee/001.jpg"):
        evaluate_tasks(workdir, {"one": str(images)})


def test_answers_are_the_best_classes_in_order(workdir, image_folder):
    folder = image_folder() / "test" / "bee"
    answers = predict_files(workdir, "one", str(folder), top=2)
    assert [a.image for a in answers] == [
        str(folder / f"{i:03d}.jpg") for i in range(4)
    ]
    for answer in answers:
        (first, high), (second, low) = answer.classes
        assert {first, second} <= {*NAMES} and first != second
        assert 1 >= high >= low >= 0
    one = predict_files(workdir, "one", str(folder / "002.jpg"), top=9)
    assert len(one) == 1 and len(one[0].classes) == 3
    assert np.sum([score for _, score in one[0].classes]) == pytest.approx(1)
    assert one[0].classes[:2] == answers[2].classes


def test_what_cannot_be_asked_is_named(workdir, image_folder, tmp_path):
    image = str(image_folder() / "test" / "bee" / "000.jpg")
    with pytest.raises(TaskError, match="'three'"):
        predict_files(workdir, "three", image)
    with pytest.raises(TaskError, match="'base' has no head"):
        predict_files(workdir, "base", image)
    with pytest.raises(DataError, match="nothing.jpg does not exist"):
        predict_files(workdir, "one", "nothing.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(DataError, match="text.jpg"):
        predict_files(workdir, "one", str(tmp_path / "text.jpg"))


def test_a_workdir_without_its_facts_is_refused(workdir, image_folder):
    workdir.run_path.unlink()
    with pytest.raises(StateError, match="run.json is missing"):
        evaluate_tasks(workdir)
    image = str(image_folder() / "test" / "bee" / "000.jpg")
    with pytest.raises(StateError, match="run.json is missing"):
        predict_files(workdir, "one", image)


def test_files_that_cannot_be_read_keep_no_other_from_its_answer(
    workdir, image_folder
):
    folder = image_folder() / "test" / "bee"
    whole = predict_files(workdir, "one", str(folder))
    (folder / "gone.jpg").symlink_to("/no/such/disk/gone.jpg")
    first = folder / "000.jpg"
    first.write_bytes(first.read_bytes()[:-60])
    (folder / "notes.txt").write_text("no image")
    lines = []
    answers = predict_files(workdir, "one", str(folder), say=lines.append)
    assert [a.image for a in answers if a.refusal] == [
        str(first),
        str(folder / "gone.jpg"),
    ]
    assert answers[1:4] == whole[1:]
    assert lines == [f"1 file left out of {folder}: 1 .txt"]
    shown = report.of_answers(answers)
    assert f"{first}: The image is corrupt or truncated." in shown
    assert f"{folder / 'gone.jpg'}: No such file or directory." in shown
    with pytest.raises(DataError, match="000.jpg: The image is corrupt"):
        predict_files(workdir, "one", str(first))


def test_tiff_is_answered_as_it_was_evaluated(workdir, image_folder):
    folder = image_folder() / "test" / "bee"
    before = predict_files(workdir, "one", str(folder / "002.jpg"))
    with Image.open(folder / "002.jpg") as image:
        image.save(folder / "002.tif")
    after = predict_files(workdir, "one", str(folder / "002.tif"))
    assert after[0].classes == before[0].classes


def test_test_files_that_are_left_out_are_counted(workdir, image_folder):
    folder = image_folder(NAMES)
    (folder / "test" / "bee" / "x.ppm").write_bytes(b"")
    lines = []
    evaluate_tasks(workdir, {"one": str(folder)}, say=lines.append)
    assert lines == [f"1 file left out of {folder}/test: 1 .ppm"]


@pytest.mark.parametrize(
    ("metrics", "facts"),
    [
        (None, None),
        (
            {"capacity_left": "some", "test_accuracy": [1]},
            {"data": "here", "seconds": "many"},
        ),
    ],
)
def test_figures_are_whatever_a_program_kept(workdir, metrics, facts):
    net, _ = states.load(workdir)
    tiny_nets.add_packed(net, "three", class_names=NAMES)
    state = states.commit(workdir, net, metrics=metrics, facts=facts)
    assert report.of_state(state).splitlines()[-1].split() == [
        *("three", "3"),
        *("-" for _ in range(9)),
    ]
    assert [row.note for row in evaluate_tasks(workdir)][-1] == "no data"
    network = NetworkOptions(
        network="cnn", weights="none", image_size=tiny_nets.SIZE
    )
    options = TaskOptions(task="four")
    assert forecast(workdir, network, options, state) == ""
