"""TFDS data sets that are not there."""

import pytest
from support.tfds_sets import prepare

from packnet_tf.data import open_task
from packnet_tf.data.sources import tfds_builder
from packnet_tf.errors import DataError

tfds = pytest.importorskip("tensorflow_datasets")


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "tfds"


def test_cars_download_is_known_to_be_gone(data_dir):
    with pytest.raises(DataError, match="no longer online.*--data=PATH"):
        open_task("cars", data_dir=data_dir)


def test_imagenet_has_to_be_asked_for(data_dir):
    with pytest.raises(DataError, match="image-net.org"):
        open_task("imagenet", data_dir=data_dir)


def test_no_network(data_dir, monkeypatch):
    monkeypatch.setattr(tfds_builder, "_reachable", lambda: False)
    with pytest.raises(DataError, match="flowers102 is not prepared") as caught:
        open_task("flowers", data_dir=data_dir)
    where = data_dir / "oxford_flowers102" / "VERSION" / "dataset_info.json"
    assert str(where) in str(caught.value)


def test_unknown_name(data_dir, monkeypatch):
    monkeypatch.setattr(tfds_builder, "_reachable", lambda: 1 / 0)
    with pytest.raises(DataError, match="did you mean .*caltech_birds2011"):
        open_task("own", "tfds:caltech_bird2011", data_dir=data_dir)


@pytest.mark.parametrize("name", ["", ":1.2.0", "/", ".", ".."])
def test_a_data_set_has_a_name(image_folder, data_dir, name):
    prepare("Alone", image_folder(), data_dir)
    for task, data in (("own", f"tfds:{name}"), (f"tfds:{name}", None)):
        with pytest.raises(DataError, match="names no data set; give tfds:N"):
            open_task(task, data, data_dir=data_dir)
    with pytest.raises(DataError, match="Unknown task ''"):
        open_task("", data_dir=data_dir)


def test_any_data_set_is_a_task_by_its_name(data_dir, monkeypatch):
    monkeypatch.setattr(tfds_builder, "_reachable", lambda: False)
    for name in ("beans", "tfds:beans", "tfds:beans:0.1.0"):
        with pytest.raises(DataError, match="tfds:beans.* is not prepared"):
            open_task(name, data_dir=data_dir)
    with pytest.raises(DataError, match="Unknown task 'bean'"):
        open_task("bean", data_dir=data_dir)


def test_failed_download_is_one_line(data_dir, monkeypatch):
    class Builder:
        def download_and_prepare(self):
            raise OSError("first line\nsecond line")

    monkeypatch.setattr(tfds_builder, "_reachable", lambda: True)
    monkeypatch.setattr(tfds, "builder", lambda *a, **k: Builder())
    with pytest.raises(DataError, match="could not be prepared") as caught:
        open_task("flowers", data_dir=data_dir)
    assert "first line" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_probe_is_quick_without_a_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(tfds_builder.urllib.request, "urlopen", refuse)
    monkeypatch.setattr(tfds_builder, "_PROBE_SECONDS", 0.2)
    assert tfds_builder._reachable() is False
