"""SavedModels of strangers: they compute, and nothing else."""

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from packnet_tf.errors import StateError
from packnet_tf.untrusted import programs


def test_saved_models_only_compute(made, tmp_path):
    programs.check_programs(made.serving_path / "net" / "1")

    class Evil(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
        def serve(self, x):
            tf.io.write_file(str(tmp_path / "written"), x)
            return x

    class Saver(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
        def serve(self, x):
            return tf.io.read_file(x)

    elsewhere = tf.constant("/etc/hostname")

    class Captured(tf.Module):
        @tf.function(input_signature=[])
        def serve(self):
            return tf.io.read_file(elsewhere)

    for module, op in (
        (Evil(), "WriteFile"),
        (Saver(), "ReadFile"),
        (Captured(), "ReadFile"),
    ):
        folder = tmp_path / type(module).__name__ / op
        tf.saved_model.save(module, str(folder))
        with pytest.raises(StateError, match=f"operation {op}, which does"):
            programs.check_programs(folder)
    (folder / "saved_model.pb").write_bytes(b"\xff\xff\xff")
    with pytest.raises(StateError, match="saved_model.pb is damaged"):
        programs.check_programs(folder)


def test_a_saved_model_of_tensorflow_1_is_refused(tmp_path):
    """Its initializer would run as it is loaded."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        written = tf.io.write_file(str(tmp_path / "written"), "x")
        builder = v1.saved_model.Builder(str(tmp_path / "model"))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"a": v1.saved_model.predict_signature_def({"x": x}, {"y": x})},
            main_op=written,
        )
        builder.save()
    with pytest.raises(StateError, match="is of TensorFlow 1"):
        programs.check_programs(tmp_path / "model")


@pytest.mark.parametrize(
    ("op", "where"),
    [
        ("WriteFile", "graph"),
        ("LoadAndRemapMatrix", "function"),
        ("DecodeProtoV2", "function"),
        ("WriteFile", "traced save"),
    ],
)
def test_an_operation_anywhere_in_a_saved_model_is_found(
    made, tmp_path, op, where
):
    file = made.serving_path / "net" / "1" / "saved_model.pb"
    message = saved_model_pb2.SavedModel()
    message.ParseFromString(file.read_bytes())
    graph = message.meta_graphs[0].graph_def
    nodes = {
        "traced save" if "traced_save" in f.signature.name else "function": f
        for f in graph.library.function
    }
    place = graph.node if where == "graph" else nodes[where].node_def
    place.add(op=op, name="more")
    (tmp_path / "saved_model.pb").write_bytes(message.SerializeToString())
    with pytest.raises(StateError, match=f"has the operation {op}"):
        programs.check_programs(tmp_path)


def test_a_saved_model_reads_its_own_assets_alone(tmp_path):
    (tmp_path / "words").write_text("one")

    class Reader(tf.Module):
        def __init__(self):
            super().__init__()
            self.asset = tf.saved_model.Asset(str(tmp_path / "words"))

        @tf.function(input_signature=[])
        def serve(self):
            return tf.io.read_file(self.asset.asset_path)

    folder = tmp_path / "model"
    tf.saved_model.save(Reader(), str(folder))
    programs.check_programs(folder)
    file = folder / "saved_model.pb"
    message = saved_model_pb2.SavedModel()
    message.ParseFromString(file.read_bytes())
    for asset in message.meta_graphs[0].asset_file_def:
        asset.filename = "../../../words"
    file.write_bytes(message.SerializeToString())
    with pytest.raises(StateError, match="is not among its files"):
        programs.check_programs(folder)
