"""The flags of the data, from the command line to the manifest."""

import json
import pathlib
import re
import shutil

import numpy as np
import pytest
from support.refusals import check_refused
from support.tiny_runs import TINY


def add(run_app, workdir, task, data, *flags):
    return run_app(
        "add_task",
        f"--workdir={workdir}",
        f"--task={task}",
        f"--data={data}",
        *TINY,
        *flags,
    )


def newest_task(workdir):
    """Returns the newest task of the newest manifest."""
    manifest = sorted(pathlib.Path(workdir).glob("states/*/manifest.json"))[-1]
    return json.loads(manifest.read_text())["tasks"][-1]


def test_tasks_are_listed_without_other_flags(run_app):
    ended = run_app("add_task", "--list_tasks")
    assert ended.code in (0, None), ended.stderr
    assert "permuted_mnist/SEED" in ended.stdout
    assert "tfds:caltech_birds2011" in ended.stdout
    ended = run_app("add_task")
    assert ended.code not in (0, None)
    assert "--workdir and --task are missing" in ended.stderr


def test_soft_labels_train_and_evaluate(run_app, colours, tmp_path):
    ended = add(
        run_app,
        tmp_path / "w",
        "soft",
        colours,
        "--augment=randaugment:5,mixup,cutmix",
    )
    assert ended.code == 0, ended.stderr
    facts = newest_task(tmp_path / "w")["facts"]["data"]
    assert facts["randaugment"] == 5 and facts["mixup"] == 0.2
    assert facts["cutmix"] == 1.0 and facts["crop"] == "random"
    ended = run_app("evaluate", f"--workdir={tmp_path / 'w'}")
    assert ended.code in (0, None), ended.stderr
    ended = add(run_app, tmp_path / "v", "soft", colours, "--augment=mixdown")
    assert ended.code not in (0, None) and "'mixdown'" in ended.stderr


def test_corrupt_images_are_left_out_and_in_the_manifest(
    run_app, colours, tmp_path
):
    folder = tmp_path / "colours"
    shutil.copytree(colours, folder)
    bad = folder / "train" / "red" / "03.jpg"
    bad.write_bytes(bad.read_bytes()[:400])
    ended = add(run_app, tmp_path / "w", "some", folder)
    assert f"{bad}: " in ended.stderr and "--skip_corrupt" in ended.stderr
    ended = add(run_app, tmp_path / "w", "some", folder, "--skip_corrupt")
    assert ended.code == 0, ended.stderr
    assert "1 image(s) cannot be read" in ended.stdout
    assert str(bad) in ended.stdout
    facts = newest_task(tmp_path / "w")["facts"]["data"]
    assert facts["skipped"] == [str(bad)]
    assert facts["train"] + facts["validation"] == 35


@pytest.mark.slow
def test_numbered_tasks_of_a_real_file(run_app, shared, tmp_path):
    with np.load(shared / "data" / "fashion_mnist.npz") as stored:
        few = {name: stored[name][:1500] for name in stored.files}
    np.savez(tmp_path / "few.npz", **few)
    data = tmp_path / "few.npz"
    ended = add(run_app, tmp_path / "w", "split_mnist/1", data, "--crop=none")
    assert ended.code == 0, ended.stderr
    task = newest_task(tmp_path / "w")
    assert task["name"] == "split_mnist.1"
    assert task["class_names"] == ["2", "3"]
    ended = run_app("evaluate", f"--workdir={tmp_path / 'w'}")
    assert "split_mnist.1" in ended.stdout, ended.stderr
    ended = add(run_app, tmp_path / "w", "mine", data, "--crop=bbox")
    assert "--crop=bbox" in ended.stderr and "no bounding" in ended.stderr
    ended = add(run_app, tmp_path / "w", "permuted_mnist/5", data)
    assert ended.code == 0, ended.stderr
    facts = newest_task(tmp_path / "w")["facts"]["data"]
    assert facts["permutation"] == 5 and facts["flip"] is False
    ended = run_app("evaluate", f"--workdir={tmp_path / 'w'}")
    assert "permuted_mnist.5" in ended.stdout, ended.stderr


def test_validation_images_of_the_data_are_said_first(
    run_app, colours, tmp_path
):
    data = tmp_path / "data"
    shutil.copytree(colours, data)
    shutil.copytree(colours / "test", data / "val")
    (data / "train" / "red" / "x.ppm").write_bytes(b"")
    ended = add(run_app, tmp_path / "w", "own", data, "--validation_share=0.2")
    check_refused(ended, "--validation_share=0.2", f"{data}/val", "leave the")
    ended = add(run_app, tmp_path / "w", "own", data)
    assert ended.code in (0, None), ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0].startswith(f"validation: the 12 images of {data}/val")
    assert lines[1] == f"1 file left out of {data}/train: 1 .ppm"
    facts = newest_task(tmp_path / "w")["facts"]["data"]
    assert (facts["train"], facts["validation"]) == (36, 12)


def test_a_broken_image_keeps_no_other_from_its_answer(
    run_app, packed, colours, tmp_path
):
    folder = tmp_path / "red"
    shutil.copytree(colours / "test" / "red", folder)
    (folder / "02.jpg").write_bytes((folder / "02.jpg").read_bytes()[:-50])
    ended = run_app(
        "predict",
        f"--workdir={packed}",
        "--task=colours",
        f"--images={folder}",
    )
    check_refused(ended, "1 of 4 images cannot be read", "02.jpg")
    for name in ("00.jpg", "01.jpg", "03.jpg"):
        assert re.search(rf"{name} +\w+ [01]\.\d", ended.stdout)
    assert f"{folder}/02.jpg: The image is corrupt" in ended.stdout
    ended = run_app(
        "predict",
        f"--workdir={packed}",
        "--task=colours",
        f"--images={folder}/nowhere.jpg",
    )
    check_refused(ended, f"--images={folder}/nowhere.jpg does not exist")
