"""Tests of packnet_tf/data/task_data.py."""

import json
import pathlib

import numpy as np
import pytest

from packnet_tf.data import open_task, registry
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.errors import DataError


@pytest.fixture
def own_registry(monkeypatch):
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))


def test_folder_of_a_new_name(image_folder):
    data = open_task("insects", str(image_folder()))
    assert data.name == "insects" and data.classes == 3
    assert data.class_names == ("ant", "bee", "cat")
    assert len(data.train) == len(data.test) == 12
    assert data.preprocessing == Preprocessing()


def test_folder_of_a_registered_name_keeps_its_preprocessing(image_folder):
    data = open_task("cubs", str(image_folder()))
    assert data.classes == 3
    # A folder has no boxes, which random crops stand in for.
    assert data.preprocessing == Preprocessing("squash", "random")
    assert data.train.preprocessing == data.test.preprocessing


def test_facts_are_json_and_open_the_same_again(
    image_folder, monkeypatch, tmp_path
):
    root = image_folder()
    monkeypatch.chdir(root.parent)
    data = open_task("cars", root.name)
    facts = json.loads(json.dumps(data.facts.to_json()))
    monkeypatch.chdir("/")
    again = open_task("cars", facts["data"])
    assert again.facts.to_json() == facts
    assert Preprocessing.from_facts(facts) == data.preprocessing
    assert pathlib.Path(facts["train_from"]) == root / "train"


def test_npz_and_bundled(tmp_path):
    pytest.importorskip("sklearn")
    x = np.arange(96, dtype=np.uint8).reshape(6, 4, 4)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(6) % 2)
    data = open_task("grey", str(tmp_path / "a.npz"))
    assert data.classes == 2 and data.test is None
    assert data.facts.kind == "npz" and data.facts.preprocessing.flip is False
    digits = open_task("digits", "bundled:digits")
    assert digits.classes == 10 and digits.facts.data == "bundled:digits"


def test_the_papers_tasks_are_registered():
    known = registry.registered()
    assert set(known) >= {"imagenet", "cubs", "cars", "flowers"}
    for name in ("cubs", "cars"):
        chosen = known[name].preprocessing
        assert chosen.resize == "squash" and chosen.box
    assert known["flowers"].train == "train+validation"
    assert known["imagenet"].test == "validation"


def test_users_register_their_own(image_folder, own_registry):
    registry.register(registry.TaskEntry("insects", str(image_folder())))
    assert open_task("insects").classes == 3


@pytest.mark.parametrize(
    "name, hint",
    [("flower", "did you mean flowers"), ("zzz", "expected one of")],
)
def test_unknown_task(name, hint):
    with pytest.raises(DataError, match=hint) as caught:
        open_task(name)
    assert f"Unknown task {name!r}" in str(caught.value)
    assert "--data=FOLDER" in str(caught.value)


@pytest.mark.parametrize(
    "data, message",
    [
        ("", "is empty"),
        ("no/such/folder", "no/such/folder does not exist"),
        ("no.npz", "no.npz does not exist"),
        ("bundled:moon", "Unknown bundled data set 'moon'"),
    ],
)
def test_unusable_data(data, message):
    with pytest.raises(DataError, match=message):
        open_task("own", data)


@pytest.mark.parametrize("key", ["image_key", "label_key"])
def test_only_tfds_has_features(image_folder, key):
    with pytest.raises(DataError, match=f"--{key}=x: .* leave the flag out"):
        open_task("own", str(image_folder()), **{key: "x"})


def test_data_with_class_names_takes_no_others(image_folder, tmp_path):
    x = np.arange(96, dtype=np.uint8).reshape(6, 4, 4)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(6) % 2)
    places = [
        image_folder(),
        tmp_path / "a.npz",
        "bundled:digits",
        "tfds:mnist",
    ]
    for place in map(str, places):
        with pytest.raises(DataError, match="own; leave class_names out") as e:
            open_task("own", place, class_names=["a", "b", "c"])
        assert place in str(e.value)


@pytest.mark.parametrize("preprocessing", [None, Preprocessing()])
def test_an_unknown_crop_is_named(image_folder, preprocessing):
    with pytest.raises(DataError, match="--crop=box: expected one of bbox"):
        open_task(
            "own", str(image_folder()), crop="box", preprocessing=preprocessing
        )
