"""A packed task's data is opened again as it was, whatever is registered."""

import json

import numpy as np
import pytest
from support.tfds_sets import prepare, tfds

from packnet_tf.data import open_task, registry, reopen


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "tfds"


def test_a_task_is_reopened_as_it_was_registered(
    image_folder, data_dir, monkeypatch
):
    splits = ("train", "validation", "test", "extra")
    other = tfds.features.Image()
    prepare("Kept", image_folder(), data_dir, splits=splits, mirrored=other)
    entry = registry.TaskEntry(
        *("own", "tfds:kept", "train", "test"),
        image_key="mirrored",
        labels=(2, 0),
        validation="validation",
    )
    monkeypatch.setitem(registry._REGISTRY, "own", entry)
    data = open_task("own", data_dir=data_dir)
    assert [len(part) for part in data.parts.values()] == [8, 8, 8]
    assert any("are left out: extra" in line for line in data.notes)
    facts = json.loads(json.dumps(data.facts.to_json()))
    # Another process may not know the entry, or have another of the name.
    for known in (None, entry, registry.TaskEntry("own", "tfds:kept", "test")):
        if known is None:
            monkeypatch.delitem(registry._REGISTRY, "own")
        else:
            monkeypatch.setitem(registry._REGISTRY, "own", known)
        for name in ("own", "renamed"):
            for place in (None, "tfds:kept:1.2.0"):
                again = reopen(name, facts, data=place, data_dir=data_dir)
                assert again.class_names == data.class_names
                for part, source in data.parts.items():
                    np.testing.assert_array_equal(
                        again.parts[part].ids, source.ids
                    )


def test_a_chosen_feature_stays_chosen(image_folder, data_dir):
    other = tfds.features.Image()
    prepare("Chosen", image_folder(), data_dir, mirrored=other)
    data = open_task(
        "own", "tfds:chosen", data_dir=data_dir, image_key="mirrored"
    )
    facts = data.facts.to_json()
    for place in (None, "tfds:chosen", "tfds:chosen:1.2.0"):
        again = reopen("own", facts, data=place, data_dir=data_dir)
        assert list(again.test.ids) == list(data.test.ids)
