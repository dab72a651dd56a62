"""Tests of packnet_tf/data/sources/tfrecord.py."""

import os

import pytest
import tensorflow as tf

from packnet_tf.data.sources import tfrecord
from packnet_tf.data.sources.tfrecord import RecordFiles
from packnet_tf.errors import DataError


@pytest.fixture
def files(tmp_path):
    paths = []
    for name, count in (("a", 5), ("b", 3)):
        paths.append(str(tmp_path / name))
        with tf.io.TFRecordWriter(paths[-1]) as writer:
            for i in range(count):
                writer.write(f"{name}{i}".encode() * (i + 1))
    return paths


def test_records_are_those_of_tensorflow(files):
    records = RecordFiles([(files[0], 0, 5), (files[1], 0, 3)])
    expected = list(tf.data.TFRecordDataset(files).as_numpy_iterator())
    assert [records[i] for i in range(len(records))] == expected
    assert records[6] == expected[6]


def test_parts_of_files(files):
    records = RecordFiles([(files[0], 3, 1), (files[1], 1, 2)])
    assert len(records) == 3
    assert records[0] == b"a3" * 4 and records[2] == b"b2" * 3


def test_files_are_closed_at_the_interpreters_exit_too(files, monkeypatch):
    records = RecordFiles([(files[0], 0, 5)])
    records[0]
    (descriptor,) = records._open.values()
    with monkeypatch.context() as patch:
        # Modules are taken down before the last objects.
        patch.setattr(tfrecord, "os", None)
        del records
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_truncated_file_is_named(files):
    with open(files[0], "r+b") as file:
        file.truncate(50)
    with pytest.raises(DataError, match="a is truncated: it holds 2 whole"):
        RecordFiles([(files[0], 0, 5)])


def test_missing_file_is_named(files):
    with pytest.raises(DataError, match="nowhere cannot be read"):
        RecordFiles([("nowhere", 0, 1)])
