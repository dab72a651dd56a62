"""What TensorFlow Serving is told of the versions and their labels."""

import json
import os

import keras
import pytest
import tensorflow as tf
from support import tiny_nets

from packnet_tf.errors import StateError
from packnet_tf.model.packnet import PackNet
from packnet_tf.serving.models_config import stable_version, write_config
from packnet_tf.serving.saved_model import export_saved_model

protos = pytest.importorskip(
    "tensorflow_serving.config.model_server_config_pb2",
    reason="TensorFlow Serving's protos: pip install packnet_tf[serving]",
)


def read(folder):
    """Returns the one model of a `models.config`, as the server reads it."""
    from google.protobuf import text_format

    config = protos.ModelServerConfig()
    text_format.Parse((folder / "models.config").read_text(), config)
    (model,) = config.model_config_list.config
    return model


def test_the_server_reads_versions_and_labels(tmp_path):
    folder = tmp_path / 'a "quoted" folder' / "net"
    folder.mkdir(parents=True)
    assert stable_version(folder) is None
    write_config(folder, [1])
    model = read(folder)
    assert (model.name, model.base_path) == ("net", str(folder))
    assert model.model_platform == "tensorflow"
    assert list(model.model_version_policy.specific.versions) == [1]
    assert dict(model.version_labels) == {"stable": 1, "latest": 1}


def test_stable_stays_until_it_is_moved(tmp_path):
    write_config(tmp_path, [1])
    for versions in ([1, 2], [1, 2, 3]):
        write_config(tmp_path, versions)
    model = read(tmp_path)
    assert dict(model.version_labels) == {"stable": 1, "latest": 3}
    # What has no label takes no memory in the server.
    assert list(model.model_version_policy.specific.versions) == [1, 3]
    write_config(tmp_path, [1, 2, 3], stable=2)
    assert dict(read(tmp_path).version_labels) == {"stable": 2, "latest": 3}
    with pytest.raises(StateError, match="no version 7.*1, 2, 3"):
        write_config(tmp_path, [1, 2, 3], stable=7)
    # Its version is gone.
    write_config(tmp_path, [1, 3])
    assert dict(read(tmp_path).version_labels) == {"stable": 3, "latest": 3}


def test_a_config_that_says_the_same_is_not_written_again(tmp_path):
    write_config(tmp_path, [1, 2])
    before = os.stat(tmp_path / "models.config").st_mtime_ns
    write_config(tmp_path, [1, 2])
    assert os.stat(tmp_path / "models.config").st_mtime_ns == before


@pytest.fixture(scope="module")
def net():
    net = tiny_nets.packed_net(())
    tiny_nets.add_packed(net, "a", class_names=("ant", "bee", "größe\n"))
    tiny_nets.add_packed(net, "b", classes=2)
    return net


@pytest.fixture(scope="module")
def path(net, tmp_path_factory):
    return export_saved_model(net, tmp_path_factory.mktemp("x") / "net" / "2")


def warmed_up(path):
    """Replays the warmup requests, and returns the signatures they name."""
    from tensorflow_serving.apis import prediction_log_pb2

    file = path / "assets.extra" / "tf_serving_warmup_requests"
    assert file.stat().st_size < 5_000
    asked = set()
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        graph = v1.saved_model.loader.load(session, ["serve"], str(path))
        # As the server does with them.
        for record in v1.io.tf_record_iterator(str(file)):
            log = prediction_log_pb2.PredictionLog.FromString(record)
            request = log.predict_log.request
            assert request.model_spec.name == path.parent.name
            name = request.model_spec.signature_name
            signature = graph.signature_def[name]
            assert signature.inputs.keys() == request.inputs.keys()
            found = session.run(
                {k: v.name for k, v in signature.outputs.items()},
                {
                    signature.inputs[key].name: tf.make_ndarray(value)
                    for key, value in request.inputs.items()
                },
            )
            assert all(len(value) == 1 for value in found.values())
            asked.add(name)
    served = {n for n in graph.signature_def if not n.startswith("__")}
    assert asked == served
    return asked


def test_a_warmup_request_for_each_signature(path):
    assert {"a_bytes", "by_task"} < warmed_up(path)


@pytest.mark.parametrize("first", [3, 0])
def test_warmup_asks_by_task_for_a_task_that_it_knows(tmp_path, first):
    inputs = keras.Input((8, 8, 3))
    net = PackNet(keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs)))
    pool = keras.layers.GlobalAveragePooling2D()
    head = keras.Sequential([pool, keras.layers.Dense(3)]) if first else None
    # The newest has scores for each pixel, which `by_task` does not know.
    for name, classes, how in (
        ("whole", first, head),
        ("pixels", 2, keras.layers.Conv2D(2, 1)),
    ):
        if how is not None:
            how.build((None, 6, 6, 4))
        tiny_nets.add_packed(net, name, classes, head=how)
    path = export_saved_model(net, tmp_path / "net" / "1")
    assert ("by_task" in warmed_up(path)) == bool(first)


def test_without_the_protos_there_is_no_warmup(net, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    path = export_saved_model(net, tmp_path / "2")
    assert sorted(os.listdir(path / "assets.extra")) == [
        "packnet.json",
        "packnet.sha256",
    ]


def test_class_names_are_an_asset(path):
    names = json.loads((path / "assets" / "class_names.json").read_bytes())
    assert names == {"a": ["ant", "bee", "größe\n"], "b": ["0", "1"]}
