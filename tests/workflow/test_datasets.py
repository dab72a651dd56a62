"""Training and validation images, as a run gets them."""

import dataclasses
import shutil

import numpy as np
import pytest
from support import sessions

from packnet_tf.data import open_task, pipeline
from packnet_tf.errors import PhaseError
from packnet_tf.model.replicas import make_strategy
from packnet_tf.options.serving import ServingConfig
from packnet_tf.options.task import TaskOptions
from packnet_tf.storage import checkpoints
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.datasets import prepare
from packnet_tf.workflow.session import Session


def pixels_of(dataset):
    return np.concatenate([x for x, _ in dataset]).tobytes()


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_validation_images_of_the_data_are_used_and_no_others(
    image_folder, share
):
    data = open_task("own", str(image_folder(parts=("train", "val", "test"))))
    options = TaskOptions(task="own", batch_size=4, validation_share=share)
    prepared = prepare(data, 16, options)
    facts = prepared.facts
    assert (facts.train, facts.validation, facts.test) == (12, 12, 12)
    expected = pipeline.evaluation(data.validation, 16, 4)
    assert pixels_of(prepared.validation) == pixels_of(expected)


def test_without_them_they_are_taken_from_the_training_images(image_folder):
    options = TaskOptions(task="own", batch_size=4, validation_share=0.3)
    data = open_task("own", str(image_folder()))
    facts = prepare(data, 16, options).facts
    assert facts.train + facts.validation == 12 and facts.validation


@pytest.fixture
def begun(image_folder, tmp_path):
    """A workdir whose task was begun, and the folder of its images."""

    def run(workdir, data, *phases):
        lines = []
        options = sessions.options_of(
            "own",
            train_epochs=1,
            retrain_epochs=1,
            gradual_epochs=0,
            batch_size=4,
            phases=phases,
        )
        Session(
            Workdir(workdir),
            sessions.CNN,
            ServingConfig(),
            make_strategy(1),
            lines.append,
        ).run(data, options)
        return lines

    return image_folder(count=8), tmp_path / "w", run


def forgetful(folder, read=checkpoints.read_record):
    """Reads a record as the earliest programs wrote it."""
    found = read(folder)
    return found and dataclasses.replace(found, images=None)


@pytest.mark.parametrize("recorded", [True, False])
def test_a_task_goes_on_with_the_images_held_out_when_it_began(
    begun, recorded, monkeypatch
):
    """Release 0.1 did not use a folder of validation images."""
    folder, workdir, run = begun
    without = open_task("own", str(folder))
    run(workdir, without, "train")
    if not recorded:
        monkeypatch.setattr(checkpoints, "read_record", forgetful)
    shutil.copytree(folder / "test", folder / "val")
    data = open_task("own", str(folder))
    assert data.validation is not None
    lines = run(workdir, data, "prune", "retrain", "pack")
    (line,) = [x for x in lines if "before" in x]
    assert f"own began before {folder / 'val'} was used for validation" in line
    facts = Workdir(workdir).newest().tasks[0].facts["data"]
    expected = prepare(without, 16, sessions.options_of("own")).facts.to_json()
    for name in ("train", "validation", "validation_from"):
        assert facts.get(name) == expected.get(name)


def test_a_task_that_began_with_a_folder_is_held_to_it(begun):
    folder, workdir, run = begun
    shutil.copytree(folder / "test", folder / "val")
    run(workdir, open_task("own", str(folder)), "train")
    lines = run(workdir, open_task("own", str(folder)), "prune")
    assert not [line for line in lines if "before" in line]
    shutil.rmtree(folder / "val")
    with pytest.raises(PhaseError, match="begun on other images: train was 24"):
        run(workdir, open_task("own", str(folder)), "retrain")


@pytest.mark.parametrize(
    "phases", [("prune", "retrain", "pack"), ("train", "prune")]
)
def test_a_task_that_began_with_classes_is_held_to_their_order(begun, phases):
    folder, workdir, run = begun
    first, *others = open_task("own", str(folder)).class_names
    run(workdir, open_task("own", str(folder)), "train")
    for part in ("train", "test"):
        (folder / part / first).rename(folder / part / "zebra")
    with pytest.raises(
        PhaseError, match=rf"class 0 .* was '{first}', and is now '{others[0]}'"
    ):
        run(workdir, open_task("own", str(folder)), *phases)
    for part in ("train", "test"):
        (folder / part / "zebra").rename(folder / part / first)
    run(workdir, open_task("own", str(folder)), "prune", "retrain", "pack")
    (task,) = Workdir(workdir).newest().tasks
    assert list(task.class_names) == [first, *others]
