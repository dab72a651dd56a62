"""Tests of packnet_tf/data/checks.py."""

import shutil

import pytest

from packnet_tf.data import checks
from packnet_tf.data.tasks import open_task
from packnet_tf.errors import DataError


def test_good_images_pass_with_progress(image_folder):
    seen = []
    data = open_task("own", str(image_folder(count=30)))
    checks.check(data, 8, progress=lambda *report: seen.append(report))
    assert seen[-1] == (180, 180)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_truncated_jpeg_is_named(image_folder, part, share):
    root = image_folder(count=40, size=(60, 80))
    bad = root / part / "bee" / "037.jpg"
    content = bad.read_bytes()
    bad.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match="bee/037.jpg: the image is corrupt"):
        checks.check(open_task("own", str(root)))


@pytest.mark.parametrize("content", [b"", b"<html>404</html>"])
def test_files_that_are_no_images_are_named(image_folder, content):
    root = image_folder()
    (root / "test" / "cat" / "001.jpg").write_bytes(content)
    with pytest.raises(DataError, match="cat/001.jpg") as caught:
        checks.check(open_task("own", str(root)))
    assert "\n" not in str(caught.value)


def test_truncated_odd_file_is_named(image_folder):
    from PIL import Image

    root = image_folder()
    bad = root / "train" / "ant" / "000.webp"
    Image.effect_noise((90, 90), 80).save(bad, quality=90)
    content = bad.read_bytes()
    bad.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="ant/000.webp"):
        checks.check(open_task("own", str(root)))


def test_fewer_images_than_a_batch(image_folder):
    data = open_task("own", str(image_folder()))
    with pytest.raises(DataError, match="12 training images, fewer than"):
        checks.check(data, 13)


def test_training_images_are_needed_to_train(image_folder):
    data = open_task("own", str(image_folder(parts=("test",))))
    with pytest.raises(DataError, match="'own' has no training images"):
        checks.check(data, 4)
    checks.check(data, train=False)


def test_arrays_pass(tmp_path):
    pytest.importorskip("sklearn")
    checks.check(open_task("digits", "bundled:digits"), 32)


def test_real_images_pass_and_a_cut_one_is_found(shared, tmp_path):
    shutil.copytree(shared / "data" / "cars", tmp_path / "cars")
    data = open_task("cars", str(tmp_path / "cars"))
    checks.check(data, 32)
    bad = data.train.describe(700)
    with open(bad, "r+b") as file:
        file.truncate(2000)
    with pytest.raises(DataError, match=bad):
        checks.check(open_task("cars", str(tmp_path / "cars")), 32)


def test_bar_is_quiet_without_a_terminal(capsys):
    bar = checks.progress_bar("checking")
    bar(1, 2)
    bar(2, 2)
    assert capsys.readouterr().err == ""
