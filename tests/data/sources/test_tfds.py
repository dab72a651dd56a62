"""Prepared TFDS data sets, made here: no network."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image
from support.tfds_sets import prepare, tfds

from packnet_tf.data import (
    integrity,
    open_task,
    pipeline,
    registry,
    reopen,
    splits,
)
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.sources.tfds import TfdsSource
from packnet_tf.errors import DataError


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "tfds"


def batches(data, size=16):
    training = pipeline.training(data.train, size, 5, seed=3)
    test = pipeline.evaluation(data.test, size, 5)
    return [
        (x.numpy().tobytes(), y.numpy().tobytes())
        for dataset in (training.epoch(0), training.epoch(1), test)
        for x, y in dataset
    ]


@pytest.mark.parametrize("form", ["tfrecord", "array_record"])
def test_same_batches_as_the_folder(image_folder, data_dir, form):
    if form == "array_record":
        pytest.importorskip("array_record")
    folder = image_folder(count=9)
    prepare("Insects", folder, data_dir, file_format=form)
    data = open_task("own", "tfds:insects", data_dir=data_dir)
    assert data.class_names == ("ant", "bee", "cat")
    # TFDS keeps another order, which the batches do not follow.
    same = open_task("own", str(folder))
    assert not np.array_equal(data.test.ids, same.test.ids)
    assert batches(data) == batches(same)


def test_same_batches_as_real_birds(shared, data_dir):
    folder = shared / "data" / "birds"
    prepare("Birds", folder, data_dir)
    a, b = (
        open_task("cubs", where, data_dir=data_dir)
        for where in ("tfds:birds", str(folder))
    )
    assert a.preprocessing == b.preprocessing
    parts = []
    for data in (a, b):
        train, validation = splits.split(data.train, 0.1, seed=1)
        parts.append(
            (
                pipeline.training(train, 96, 32, seed=1).epoch(0),
                pipeline.evaluation(validation, 96, 32),
                pipeline.evaluation(data.test, 96, 32),
            )
        )
    for datasets in zip(*parts, strict=True):
        for left, right in zip(*datasets, strict=True):
            assert left[0].numpy().tobytes() == right[0].numpy().tobytes()
            assert left[1].numpy().tobytes() == right[1].numpy().tobytes()


def test_bounding_boxes_are_cut(image_folder, data_dir):
    folder = image_folder(size=(40, 60))
    prepare("Boxed", folder, data_dir, boxes=True)
    data = open_task("cubs", "tfds:boxed", data_dir=data_dir)
    paper = Preprocessing("squash", "none", True, True)
    assert data.preprocessing == paper and data.facts.preprocessing.box is True
    whole = {
        path.read_bytes(): np.asarray(Image.open(path))
        for path in (folder / "train").glob("*/*")
    }
    for i, image in enumerate(
        data.train.decoded(np.arange(len(data.train))).as_numpy_iterator()
    ):
        expected = whole[data.train.encoded(i)][4:24, 15:45]
        assert np.array_equal(image, expected)
    # A task without the paper's preprocessing is not cut.
    plain = open_task("own", "tfds:boxed", data_dir=data_dir)
    assert next(iter(plain.train.decoded(np.array([0])))).shape == (40, 60, 3)
    assert plain.facts.preprocessing.box is False


def test_registered_task_uses_its_splits(image_folder, data_dir, monkeypatch):
    folder = image_folder()
    prepare(
        "Blooms",
        folder,
        data_dir,
        splits=("train", "validation", "test"),
    )
    monkeypatch.setattr(registry, "_REGISTRY", {})
    registry.register(
        registry.TaskEntry("flowers", "tfds:blooms", train="train+validation")
    )
    data = open_task("flowers", data_dir=data_dir)
    assert len(data.train) == 24 and len(data.test) == 12
    again = open_task("flowers", data.facts.data, data_dir=data_dir)
    assert len(again.train) == 24
    registry.register(registry.TaskEntry("odd", "tfds:blooms", train="tain"))
    with pytest.raises(DataError, match="no split 'tain'; it has"):
        open_task("odd", data_dir=data_dir)


def test_a_validation_split_is_used_for_validation(image_folder, data_dir):
    splits = ("train", "validation", "test", "extra")
    prepare("Whole", image_folder(), data_dir, splits=splits)
    data = open_task("own", "tfds:whole", data_dir=data_dir)
    assert data.validation.origin == "whole/1.2.0[validation]"
    assert len(data.train) == len(data.validation) == len(data.test) == 12
    assert data.notes == [
        "validation: the 12 images of whole/1.2.0[validation], none of the "
        "training images",
        "1 split(s) of tfds:whole are left out: extra",
    ]


def test_validation_stands_in_for_a_missing_test_part(image_folder, data_dir):
    prepare("Novel", image_folder(), data_dir, splits=("train", "validation"))
    data = open_task("own", "tfds:novel", data_dir=data_dir)
    assert data.facts.test_from == "novel/1.2.0[validation]"
    assert data.validation is None
    assert data.notes == [
        "tfds:novel has no test split; its split validation stands in for it"
    ]


def test_other_feature_names(image_folder, data_dir):
    folder = image_folder()
    prepare(
        "Texts",
        folder,
        data_dir,
        label=None,
        file=tfds.features.Text(),
    )
    with pytest.raises(DataError, match="features file, image; expected one"):
        open_task("own", "tfds:texts", data_dir=data_dir)
    names = sorted(os.listdir(folder / "train"))
    prepare(
        "Kinds",
        folder,
        data_dir,
        label=None,
        kind=tfds.features.ClassLabel(names=names),
    )
    data = open_task("own", "tfds:kinds", data_dir=data_dir)
    assert data.train.labels.tolist().count(1) == 4


def test_keys_choose_among_features(image_folder, data_dir):
    folder = image_folder(size=(20, 20))
    names = sorted(os.listdir(folder / "train"))
    prepare(
        "Double",
        folder,
        data_dir,
        kind=tfds.features.ClassLabel(names=names),
        photo=tfds.features.Image(),
    )
    data = open_task(
        "own",
        "tfds:double",
        data_dir=data_dir,
        image_key="photo",
        label_key="kind",
    )
    assert data.facts.image_key == "photo"
    again = reopen("own", data.facts.to_json(), data_dir=data_dir)
    assert again.facts == data.facts and again.train._image_key == "photo"
    with pytest.raises(DataError, match="--label_key=breed: .* kind, label"):
        open_task("own", "tfds:double", data_dir=data_dir, label_key="breed")


def test_what_is_remembered_is_of_one_feature(image_folder, data_dir):
    mirrored = tfds.features.Image()
    prepare("Twice", image_folder(), data_dir, mirrored=mirrored)
    found = []
    for key in ("image", "mirrored", "image"):
        data = open_task("own", "tfds:twice", data_dir=data_dir, image_key=key)
        found.append(set(integrity.check(data).train.ids.tolist()))
    assert found[0] == found[2] and found[0].isdisjoint(found[1])


def test_images_of_real_numbers_are_refused(image_folder, data_dir):
    with tfds.core.registered.skip_registration():

        class Depths(tfds.core.GeneratorBasedBuilder):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                features = {
                    "image": tfds.features.Image(
                        shape=(8, 8, 1), dtype=np.float32
                    ),
                    "label": tfds.features.ClassLabel(num_classes=2),
                }
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict(features)
                )

            def _split_generators(self, dl_manager):
                return {"train": self._generate_examples()}

            def _generate_examples(self):
                for i in range(4):
                    depths = np.full((8, 8, 1), i / 7, np.float32)
                    yield i, {"image": depths, "label": i % 2}

    Depths(data_dir=str(data_dir)).download_and_prepare()
    with pytest.raises(DataError, match="'image' .* holds float32 numbers"):
        open_task("own", "tfds:depths", data_dir=data_dir)


def test_a_version_of_a_registered_set_keeps_its_splits(
    image_folder, data_dir, monkeypatch
):
    folder, splits = image_folder(), ("train", "validation", "test")
    prepare("Sprouts", folder, data_dir, splits=splits)
    entry = registry.TaskEntry("own", "tfds:sprouts", "train+validation")
    monkeypatch.setitem(registry._REGISTRY, "own", entry)
    for data in (None, "tfds:sprouts", "tfds:sprouts:1.2.0"):
        opened = open_task("own", data, data_dir=data_dir)
        assert opened.facts.train_from.endswith("[train+validation]")
        again = reopen("own", opened.facts.to_json(), data_dir=data_dir)
        assert again.facts == opened.facts


def test_other_splits_are_registered(image_folder, data_dir, monkeypatch):
    prepare("Folds", image_folder(), data_dir, splits=("fold_1", "fold_2"))
    with pytest.raises(DataError, match="fold_1, fold_2; .* a TaskEntry"):
        open_task("own", "tfds:folds", data_dir=data_dir)
    for test in ("fold_2", ""):
        entry = registry.TaskEntry("own", "tfds:folds", "fold_1", test)
        monkeypatch.setitem(registry._REGISTRY, "own", entry)
        data = open_task("own", data_dir=data_dir)
        assert len(data.train) == 12 and bool(data.test) == bool(test)


def test_crop_is_the_users_choice(image_folder, data_dir):
    prepare("Square", image_folder(size=(40, 60)), data_dir, boxes=True)
    cut = open_task("own", "tfds:square", data_dir=data_dir, crop="bbox")
    assert cut.preprocessing == Preprocessing("squash", "none", box=True)
    shape = next(iter(cut.train.decoded(np.array([0])))).shape
    assert shape == (20, 30, 3)
    whole = open_task("cubs", "tfds:square", data_dir=data_dir, crop="none")
    assert whole.preprocessing == Preprocessing("squash", "random")
    again = reopen("cubs", whole.facts.to_json(), data_dir=data_dir)
    assert again.preprocessing == whole.preprocessing
    with pytest.raises(DataError, match="--crop=bbox: .*no bounding boxes"):
        open_task("own", str(image_folder(name="b")), crop="bbox")
    with pytest.raises(DataError, match="--crop=box: expected one of bbox"):
        open_task("own", "tfds:square", data_dir=data_dir, crop="box")


def test_bad_images_are_named_and_left_out(image_folder, data_dir):
    folder = image_folder(size=(60, 80))
    path = folder / "train" / "bee" / "001.jpg"
    path.write_bytes(path.read_bytes()[:900])
    prepare("Torn", folder, data_dir)
    data = open_task("own", "tfds:torn", data_dir=data_dir)
    name = r"torn/1.2.0\[train\], example \d+: The image is corrupt"
    with pytest.raises(DataError, match=name):
        integrity.check(data)
    data = open_task("own", "tfds:torn", data_dir=data_dir)
    assert len(integrity.check(data, skip_corrupt=True).train) == 11


def test_versions(image_folder, data_dir):
    prepare("Aged", image_folder(), data_dir)
    data = open_task("own", "tfds:aged:1.2.0", data_dir=data_dir)
    assert data.facts.train_from == "aged/1.2.0[train]"
    with pytest.raises(DataError, match="as version 1.2.0, not 9.9.9"):
        open_task("own", "tfds:aged:9.9.9", data_dir=data_dir)


def test_data_dir_of_the_environment(image_folder, data_dir, monkeypatch):
    prepare("Envy", image_folder(), data_dir)
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    assert open_task("own", "tfds:envy").classes == 3


def test_several_configurations(image_folder, data_dir):
    prepare("Multi", image_folder(), data_dir)
    version = data_dir / "multi" / "1.2.0"
    for config in ("a", "b"):
        shutil.copytree(version, data_dir / "multi" / config / "1.2.0")
    shutil.rmtree(version)
    with pytest.raises(DataError, match="tfds:multi/a, tfds:multi/b"):
        open_task("own", "tfds:multi", data_dir=data_dir)


def test_labels_and_boxes_are_read_once(image_folder, data_dir, monkeypatch):
    prepare("Known", image_folder(), data_dir, boxes=True)

    def opened(**keys):
        return open_task("cubs", "tfds:known", data_dir=data_dir, **keys).train

    seen, read = [], []
    whole = TfdsSource._example
    monkeypatch.setattr(
        TfdsSource, "_example", lambda *a: read.append(a[1]) or whole(*a)
    )
    first = opened(progress=lambda *report: seen.append(report))
    # The test part is opened too.
    assert len(read) == 24 and seen == [(12, 12), (12, 12)]
    again = opened()
    assert len(read) == 24
    assert again.labels.tobytes() == first.labels.tobytes()
    assert again.boxes.tobytes() == first.boxes.tobytes()
    # Files that changed are read again, a part of them alone.
    (record,) = (data_dir / "known" / "1.2.0").glob("*train.tfrecord*")
    os.utime(record, (1, 1))
    assert opened().labels.tobytes() == first.labels.tobytes()
    assert len(read) == 36


def test_damaged_files(image_folder, data_dir):
    prepare("Hurt", image_folder(), data_dir)
    (record,) = (data_dir / "hurt" / "1.2.0").glob("*train.tfrecord*")
    content = record.read_bytes()
    record.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="train.tfrecord.* is truncated"):
        open_task("own", "tfds:hurt", data_dir=data_dir)
    (record.parent / "features.json").write_text("{")
    with pytest.raises(DataError, match="tfds:hurt in .* cannot be read"):
        open_task("own", "tfds:hurt", data_dir=data_dir)
