"""Tests of packnet_tf/data/integrity.py."""

import contextlib
import os
import pathlib
import shutil

import numpy as np
import pytest

from packnet_tf import console
from packnet_tf.data import integrity, pipeline, splits
from packnet_tf.data.sources.folder import FolderSource
from packnet_tf.data.task_data import open_task
from packnet_tf.errors import DataError


def test_good_images_pass_with_progress(image_folder):
    seen = []
    data = open_task("own", str(image_folder(count=30)))
    integrity.check(data, 8, progress=lambda *report: seen.append(report))
    assert seen[-1] == (180, 180)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_truncated_jpeg_is_named(image_folder, part, share):
    root = image_folder(count=40, size=(60, 80))
    bad = root / part / "bee" / "037.jpg"
    content = bad.read_bytes()
    bad.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match="bee/037.jpg: The image is corrupt"):
        integrity.check(open_task("own", str(root)))


@pytest.mark.parametrize("content", [b"", b"<html>404</html>"])
def test_files_that_are_no_images_are_named(image_folder, content):
    root = image_folder()
    (root / "test" / "cat" / "001.jpg").write_bytes(content)
    with pytest.raises(DataError, match="cat/001.jpg") as caught:
        integrity.check(open_task("own", str(root)))
    assert "\n" not in str(caught.value)


def test_what_could_not_be_read_is_read_again(image_folder, monkeypatch):
    """A disk that failed once may answer the next time."""
    root = image_folder()
    read = FolderSource.encoded

    def fail(source, index):
        if index == 3:
            raise OSError(5, "Input/output error")
        return read(source, index)

    with monkeypatch.context() as patch:
        patch.setattr(FolderSource, "encoded", fail)
        with pytest.raises(DataError, match="Input/output error"):
            integrity.check(open_task("own", str(root)))
    integrity.check(open_task("own", str(root)))


def test_truncated_odd_file_is_named(image_folder):
    from PIL import Image

    root = image_folder()
    bad = root / "train" / "ant" / "000.webp"
    Image.effect_noise((90, 90), 80).save(bad, quality=90)
    content = bad.read_bytes()
    bad.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="ant/000.webp"):
        integrity.check(open_task("own", str(root)))


def test_fewer_images_than_a_batch(image_folder):
    data = open_task("own", str(image_folder()))
    with pytest.raises(DataError, match="12 training images, fewer than"):
        integrity.check(data, 13)


def test_training_images_are_needed_to_train(image_folder):
    data = open_task("own", str(image_folder(parts=("test",))))
    with pytest.raises(DataError, match="'own' has no training images"):
        integrity.check(data, 4)
    integrity.check(data, train=False)


def test_arrays_pass(tmp_path):
    pytest.importorskip("sklearn")
    integrity.check(open_task("digits", "bundled:digits"), 32)


def test_real_images_pass_and_a_cut_one_is_found(shared, tmp_path):
    shutil.copytree(shared / "data" / "cars", tmp_path / "cars")
    data = open_task("cars", str(tmp_path / "cars"))
    integrity.check(data, 32)
    bad = data.train.describe(700)
    with open(bad, "r+b") as file:
        file.truncate(2000)
    with pytest.raises(DataError, match=bad):
        integrity.check(open_task("cars", str(tmp_path / "cars")), 32)


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def test_bad_files_are_left_out_and_listed(image_folder):
    root = image_folder(count=6, size=(60, 80))
    cut(root / "train" / "bee" / "003.jpg")
    (root / "train" / "cat" / "001.jpg").write_bytes(b"<html>404</html>")
    cut(root / "test" / "ant" / "005.jpg")
    said = []
    data = integrity.check(
        open_task("own", str(root)), 8, skip_corrupt=True, say=said.append
    )
    assert len(data.train) == 16 and len(data.test) == 17
    names = ["train/bee/003.jpg", "train/cat/001.jpg", "test/ant/005.jpg"]
    assert "3 image(s) cannot be read" in said[0]
    for line, skipped, name in zip(
        said[1:], data.facts.skipped, names, strict=True
    ):
        assert line.endswith(name) and skipped.endswith(name)
    batches = pipeline.training(data.train, 16, 8)
    assert sum(len(y) for _, y in batches.epoch(0)) == 16
    train, validation = splits.split(data.train, 0.3)
    assert len(train) + len(validation) == 16
    with pytest.raises(DataError, match="bee/003.jpg.*--skip_corrupt"):
        integrity.check(open_task("own", str(root)), 8)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_class_without_good_images_is_named(image_folder, part):
    root = image_folder(count=2, size=(60, 80))
    for path in (root / part / "bee").iterdir():
        cut(path)
    with pytest.raises(DataError, match=f"Class 'bee' of .*{part} has no"):
        integrity.check(open_task("own", str(root)), 2, skip_corrupt=True)


def test_too_few_good_images_for_a_batch(image_folder):
    root = image_folder(count=2, size=(60, 80))
    cut(root / "train" / "bee" / "000.jpg")
    with pytest.raises(DataError, match="There are 5 training images"):
        integrity.check(open_task("own", str(root)), 6, skip_corrupt=True)


def test_what_was_found_is_remembered(image_folder, monkeypatch):
    root = image_folder(count=3, size=(60, 80))
    bad = root / "train" / "bee" / "001.jpg"
    good = bad.read_bytes()
    cut(bad)
    first = open_task("own", str(root))
    with pytest.raises(DataError, match="bee/001.jpg"):
        integrity.check(first)
    read = []
    original = integrity._decode
    monkeypatch.setattr(
        integrity,
        "_decode",
        lambda *a: read.append(a[0].origin) or original(*a),
    )
    with pytest.raises(DataError, match="bee/001.jpg: The image is corrupt"):
        integrity.check(open_task("own", str(root)))
    # The first run stopped before the test part.
    assert read == []
    bad.write_bytes(good)
    data = integrity.check(open_task("own", str(root)))
    assert [name.rpartition("/")[2] for name in read] == ["train", "test"]
    again = open_task("own", str(root))
    monkeypatch.setattr(type(again.train), "encoded", lambda *a: 1 / 0)
    seen = []
    integrity.check(again, progress=lambda *report: seen.append(report))
    assert len(read) == 2 and seen[-1] == (18, 18)
    assert np.array_equal(again.train.ids, data.train.ids)


def test_a_damaged_memory_is_no_harm(image_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = str(image_folder())
    integrity.check(open_task("own", root))
    kept = list((tmp_path / "cache").rglob("*.npz"))
    assert len(kept) == 2
    for path in kept:
        path.write_bytes(b"nothing")
    integrity.check(open_task("own", root))
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    integrity.check(open_task("own", root))


def test_a_user_without_a_home_has_no_memory(image_folder, monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pathlib.Path, "home", no_home)
    data = integrity.check(open_task("own", str(image_folder())))
    assert len(data.train) == 12


def test_images_in_both_parts_are_reported(image_folder):
    root = image_folder()
    shutil.copy(root / "train/bee/002.jpg", root / "test/bee/zzz.jpg")
    # Those of the fixture are all different.
    said = []
    integrity.check(open_task("own", str(root)), say=said.append)
    assert len(said) == 1 and said[0].startswith("warning: 1 image(s) are in")
    assert "train/bee/002.jpg and " in said[0]
    assert "test/bee/zzz.jpg" in said[0]


def test_what_is_left_out_is_said_first_and_validation_is_checked(image_folder):
    root = image_folder(parts=("train", "val", "test"))
    (root / "train" / "x.ppm").write_bytes(b"")
    shutil.copy(root / "train/bee/002.jpg", root / "val/bee/zzz.jpg")
    said = []
    checked = integrity.check(open_task("own", str(root)), say=said.append)
    assert said[0].startswith("validation: the 13 images of")
    assert said[1] == f"1 file left out of {root}/train: 1 .ppm"
    assert "are in both train and validation" in said[2]
    assert len(said) == 3 and len(checked.validation) == 13
    (root / "val" / "bee" / "zzz.jpg").write_bytes(b"no image")
    data = open_task("own", str(root))
    with pytest.raises(DataError, match="val/bee/zzz.jpg"):
        integrity.check(data)
    left = integrity.check(data, skip_corrupt=True)
    assert len(left.validation) == 12
    assert left.facts.skipped == (f"{root}/val/bee/zzz.jpg",)


def test_only_images_of_28_pixels_are_permuted(image_folder):
    data = open_task("permuted_mnist/1", str(image_folder()))
    with pytest.raises(DataError, match="images of 20 x 30 pixels"):
        integrity.check(data)
    x = np.zeros((6, 8, 8), np.uint8)
    data = open_task("permuted_mnist/1", (x, np.arange(6) % 2))
    with pytest.raises(DataError, match="images of 8 x 8 pixels"):
        integrity.check(data)


def test_bar_is_seen_during_the_check(image_folder, monkeypatch):
    data = open_task("own", str(image_folder()))
    main, terminal = os.openpty()
    kept = os.dup(2)
    # The process's stderr itself, which is silenced meanwhile.
    os.dup2(terminal, 2)
    try:
        with open(2, "w", closefd=False) as screen:
            monkeypatch.setattr(integrity.sys, "stderr", screen)
            monkeypatch.setenv("TERM", "xterm")
            with console.bar("looking") as progress:
                integrity.check(data, progress=progress)
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    os.set_blocking(main, False)
    shown = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            shown += os.read(main, 10_000)
    os.close(main)
    os.close(terminal)
    assert b"looking" in shown and b"24/24" in shown


@pytest.mark.parametrize("skip_corrupt", [False, True])
def test_bad_files_of_other_classes_are_not_the_tasks(
    image_folder, skip_corrupt
):
    root = image_folder(classes=("0", "1", "2"), count=4)
    (root / "train" / "2" / "003.jpg").write_bytes(b"not an image")
    opened = open_task("split_mnist/0", str(root))
    # What was not checked is read too.
    assert len(opened.train.ids) == 8
    data = integrity.check(opened, 4, skip_corrupt=skip_corrupt)
    assert len(data.train) == 8 and data.facts.skipped == ()
    batches = pipeline.training(data.train, 16, 4).epoch(0)
    assert sum(len(y) for _, y in batches) == 8
    cut(root / "train" / "1" / "003.jpg")
    opened = open_task("split_mnist/0", str(root))
    if not skip_corrupt:
        with pytest.raises(DataError, match="train/1/003.jpg: "):
            integrity.check(opened, 4)
        return
    data = integrity.check(opened, 4, skip_corrupt=True)
    assert data.facts.skipped == (f"{root}/train/1/003.jpg",)
    assert sum(map(len, splits.split(data.train, 0.3))) == 7
