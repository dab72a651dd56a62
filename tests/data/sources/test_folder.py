"""Tests of packnet_tf/data/sources/folder.py."""

import os
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from packnet_tf.data import integrity, open_task
from packnet_tf.data.sources.folder import read_folder
from packnet_tf.errors import DataError


def test_classes_are_the_sorted_folders(image_folder):
    parts = read_folder(image_folder(classes=("b", "a", "B")))
    assert set(parts) == {"train", "test"}
    train = parts["train"]
    assert train.class_names == ("B", "a", "b")
    assert train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert train.labels.dtype == np.int32
    assert train.describe(5).endswith("train/a/001.jpg")


def test_decoded_follows_the_order_asked_for(image_folder):
    train = read_folder(image_folder())["train"]
    order = np.array([7, 0, 7, 3])
    for place, image in zip(
        order, train.decoded(order).as_numpy_iterator(), strict=True
    ):
        expected = np.asarray(Image.open(train.describe(place)))
        assert np.array_equal(image, expected)


def test_test_part_alone_is_enough(image_folder):
    assert set(read_folder(image_folder(parts=("test",)))) == {"test"}


def test_extensions_in_any_case_and_other_files(image_folder):
    root = image_folder()
    ant = root / "train" / "ant"
    (ant / "000.jpg").rename(ant / "000.JPEG")
    Image.new("RGB", (9, 9), "red").save(ant / "x.WebP", lossless=True)
    for name in ("notes.txt", ".hidden.jpg", "Thumbs.db"):
        (ant / name).write_text("no image")
    (root / "train" / ".cache").mkdir()
    train = read_folder(root)["train"]
    assert int(np.sum(train.labels == 0)) == 5
    image = next(iter(train.decoded(np.array([4])))).numpy()
    assert np.array_equal(image, np.full((9, 9, 3), (255, 0, 0), np.uint8))


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_validation_has_a_folder_of_its_own(image_folder, name):
    root = image_folder(parts=("train", name))
    parts = read_folder(root)
    assert list(parts) == ["train", "validation"]
    assert parts["validation"].describe(0) == f"{root}/{name}/ant/000.jpg"
    data = open_task("own", str(root))
    assert data.test is None and len(data.validation) == 12
    assert data.facts.to_json()["validation_from"] == str(root / name)
    assert data.notes == [
        f"validation: the 12 images of {root / name}, none of the training "
        "images"
    ]


def test_validation_has_one_folder_and_the_same_classes(image_folder):
    root = image_folder(parts=("train", "val", "valid", "test"))
    with pytest.raises(DataError, match="has val and valid, which all mean"):
        read_folder(root)
    shutil.rmtree(root / "valid")
    (root / "val" / "bee").rename(root / "val" / "wasp")
    with pytest.raises(DataError, match="train has 'bee', which val lacks"):
        read_folder(root)
    with pytest.raises(DataError, match="neither train nor test"):
        read_folder(image_folder(parts=("val",), name="alone"))


def test_files_that_are_left_out_are_counted(image_folder):
    root = image_folder()
    ant = root / "train" / "ant"
    for name in ("a.ppm", "b.PPM", "c.txt", "d", ".hidden.jpg"):
        (ant / name).write_bytes(b"")
    shutil.copy(ant / "000.jpg", root / "train" / "loose.jpg")
    (root / "test" / "bee" / "e.heic").write_bytes(b"")
    (root / "README").write_bytes(b"")
    (root / "unlabelled").mkdir()
    parts = read_folder(root)
    assert parts["train"].notes == (
        f"1 file left out of {root}: 1 without an extension",
        f"the folder(s) 'unlabelled' left out of {root}",
        f"5 files left out of {root}/train: 2 .ppm, 1 .txt, 1 without an "
        "extension, 1 image(s) beside the class folders",
    )
    assert parts["test"].notes == (f"1 file left out of {root}/test: 1 .heic",)
    assert read_folder(image_folder(name="clean"))["train"].notes == ()


def test_many_kinds_are_cut_short(image_folder):
    root = image_folder()
    for i in range(7):
        (root / "test" / "bee" / f"a.k{i}").write_bytes(b"")
    (line,) = read_folder(root)["test"].notes
    assert line.startswith("7 files left out of")
    assert line.endswith("1 .k4, 2 of other kinds")


def test_tiff_and_jfif_are_images_of_a_folder(image_folder):
    root = image_folder()
    bee = root / "train" / "bee"
    for i, name in enumerate(("x.tif", "y.TIFF", "z.jfif")):
        with Image.open(bee / f"{i:03d}.jpg") as image:
            kind = "JPEG" if name == "z.jfif" else "TIFF"
            image.save(bee / name, kind)
    train = read_folder(root)["train"]
    assert train.notes == () and int(np.sum(train.labels == 1)) == 7
    for i, image in enumerate(train.decoded(np.arange(15))):
        expected = np.asarray(Image.open(train.describe(i)).convert("RGB"))
        assert np.array_equal(image, expected)


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist"):
        read_folder(tmp_path / "nowhere")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "data.zip").touch()
    with pytest.raises(DataError, match="data.zip is a file"):
        read_folder(tmp_path / "data.zip")


def test_folder_without_parts(image_folder):
    with pytest.raises(DataError, match="neither train nor test"):
        read_folder(image_folder() / "train")


def test_no_classes(image_folder, tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="no class folders"):
        read_folder(tmp_path)


def test_one_class(image_folder):
    with pytest.raises(DataError, match="only one class .'ant'"):
        read_folder(image_folder(classes=("ant",)))


def test_empty_class(image_folder):
    root = image_folder()
    shutil.rmtree(root / "train" / "bee")
    (root / "train" / "bee").mkdir()
    with pytest.raises(DataError, match="'bee' of .*train hold no images"):
        read_folder(root)


def test_no_images_at_all(image_folder):
    root = image_folder(count=0)
    with pytest.raises(DataError, match="train holds no images"):
        read_folder(root)


def test_different_classes_are_named(image_folder):
    root = image_folder()
    (root / "test" / "bee").rename(root / "test" / "wasp")
    with pytest.raises(DataError) as caught:
        read_folder(root)
    assert "train has 'bee', which test lacks" in str(caught.value)
    assert "test has 'wasp', which train lacks" in str(caught.value)


def test_many_different_classes_are_cut_short(image_folder):
    root = image_folder(classes=[f"c{i}" for i in range(9)])
    for i in range(7):
        shutil.rmtree(root / "test" / f"c{i}")
    with pytest.raises(DataError, match="'c4' and 2 more, which test"):
        read_folder(root)


def test_nested_class_names(image_folder):
    root = image_folder(classes=("wolf", "dogs/husky", "dogs/poodle"))
    (root / "train" / "wolf" / "notes").mkdir()
    train = read_folder(root)["train"]
    assert train.class_names == ("dogs/husky", "dogs/poodle", "wolf")
    assert train.describe(4).endswith("train/dogs/poodle/000.jpg")
    shutil.rmtree(root / "train" / "dogs" / "husky")
    (root / "train" / "dogs" / "husky").mkdir()
    with pytest.raises(DataError, match="'dogs/husky' of .* hold no images"):
        read_folder(root)


def test_names_of_files_need_not_be_text(image_folder):
    root = image_folder()
    plain = read_folder(root)["train"]
    (pixels,) = plain.decoded(np.array([0]))
    first = root / "train" / "ant" / "000.jpg"
    odd = first.with_name(os.fsdecode(b"caf\xe9\n.jpg"))
    first.rename(odd)
    source = read_folder(root)["train"]
    place = source.ids.tolist().index(plain.ids[0])
    (image,) = source.decoded(np.array([place]))
    assert image.numpy().tobytes() == pixels.numpy().tobytes()
    assert source.describe(place).endswith("caf\\xe9\n.jpg")
    odd.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"ant/caf\\xe9 .jpg: The file is"):
        len(read_folder(root)["train"].ids)


def test_names_of_classes_are_text(image_folder):
    root = image_folder()
    folder = root / "train" / "bee"
    folder.rename(folder.with_name(os.fsdecode(b"abeille\xe9")))
    with pytest.raises(DataError, match=r"abeille.*xe9' of .* rename it"):
        read_folder(root)


def test_errors_are_one_line(tmp_path):
    with pytest.raises(DataError) as caught:
        read_folder(tmp_path)
    assert "\n" not in str(caught.value)


def test_ids_are_those_of_the_bytes(image_folder):
    root = image_folder()
    before = read_folder(root)["train"].ids
    ant = root / "train" / "ant"
    (ant / "000.jpg").rename(ant / "zzz.jpg")
    after = read_folder(root)["train"].ids
    assert before.dtype == np.uint64
    assert after[:4].tolist() == [*before[1:4], before[0]]
    assert len(set(before.tolist())) == len(before)


def test_file_that_is_no_image_is_named(image_folder):
    root = image_folder()
    (root / "train" / "bee" / "002.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match="bee/002.jpg: The file is not"):
        _ = read_folder(root)["train"].ids


def test_real_images(shared):
    parts = read_folder(shared / "data" / "birds")
    assert len(parts["train"]) == 1078 and len(parts["test"]) == 1080
    assert len(parts["train"].class_names) == 36


def test_links_are_followed_but_not_in_circles(image_folder, tmp_path):
    root = image_folder()
    (root / "train" / "bee").rename(tmp_path / "elsewhere")
    (root / "train" / "bee").symlink_to(tmp_path / "elsewhere")
    assert len(read_folder(root)["train"]) == 12
    for part in ("train", "test"):
        (root / part / "ant" / "up").symlink_to(root / part)
    with pytest.raises(DataError, match="ant/up points to a folder"):
        read_folder(root)


def test_links_that_lead_nowhere_are_named(image_folder):
    root = image_folder()
    missing = root / "train" / "ant" / "009.jpg"
    missing.symlink_to("/no/such/disk/009.jpg")
    data = open_task("own", str(root))
    with pytest.raises(DataError, match="ant/009.jpg: No such file"):
        integrity.check(data)
    left = integrity.check(data, skip_corrupt=True)
    assert left.facts.skipped == (str(missing),) and len(left.train) == 12
    (root / "train" / "dog").symlink_to("/no/such/disk/dog")
    with pytest.raises(DataError, match="link .*train/dog is broken"):
        read_folder(root)


@pytest.mark.parametrize(
    "path, message",
    [("/" + "x" * 400, "File name too long"), ("~nobody_at_all/x", "home")],
)
def test_paths_that_cannot_be_looked_at(path, message):
    for end in ("", ".npz"):
        with pytest.raises(DataError, match=message) as caught:
            open_task("own", path + end)
        assert "\n" not in str(caught.value)


def test_folders_that_may_not_be_read(image_folder, monkeypatch):
    root = image_folder()
    secret = root / "test" / "bee"
    listed = pathlib.Path.iterdir

    def iterdir(path):
        if path == secret:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(pathlib.Path, "iterdir", iterdir)
    with pytest.raises(DataError, match="test/bee cannot be read: Permission"):
        read_folder(root)
