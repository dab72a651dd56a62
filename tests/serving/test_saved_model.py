import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import tiny_nets

from packnet_tf.errors import (
    NetworkError,
)
from packnet_tf.model.packnet import PackNet
from packnet_tf.model.replicas import make_strategy
from packnet_tf.serving.saved_model import export_saved_model

NAMES = ("a", "b", "c")

# A process of its own, in which neither Keras nor packnet_tf can be imported.
_CLIENT = """
import sys
sys.modules["keras"] = sys.modules["tf_keras"] = None
sys.modules["packnet_tf"] = None
import numpy as np
import tensorflow as tf
path, given, found, names = sys.argv[1:]
images = np.load(given)
served = tf.saved_model.load(path)
out = {}
for name in names.split(","):
    signature = served.signatures[name]
    for key, value in signature(images=tf.constant(images)).items():
        out[f"new {name} {key}"] = value.numpy()
v1 = tf.compat.v1
with v1.Session(graph=tf.Graph()) as session:
    graph = v1.saved_model.loader.load(session, ["serve"], path)
    for name in names.split(","):
        signature = graph.signature_def[name]
        images_name = signature.inputs["images"].name
        for key, tensor in signature.outputs.items():
            out[f"old {name} {key}"] = session.run(
                tensor.name, {images_name: images}
            )
assert sys.modules["keras"] is None and sys.modules["packnet_tf"] is None
np.savez(found, **{k: v for k, v in out.items() if v.dtype != object})
print("loaded", flush=True)
"""


def _load_elsewhere(path, images, tmp_path):
    """Returns all outputs, by loader, signature and name."""
    np.save(tmp_path / "images.npy", images)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _CLIENT,
            str(path),
            str(tmp_path / "images.npy"),
            str(tmp_path / "found.npz"),
            ",".join([*NAMES, "serving_default", "all_tasks"]),
        ],
        env={
            **{k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert "loaded" in done.stdout, done.stderr[-3000:]
    with np.load(tmp_path / "found.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def net():
    return tiny_nets.packed_net(NAMES)


@pytest.fixture(scope="module")
def path(net, tmp_path_factory):
    return export_saved_model(net, tmp_path_factory.mktemp("serving") / "3")


def _serve(served, task, images, output="logits"):
    return served.signatures[task](images=tf.constant(images))[output].numpy()


def _assert_same_logits(net, path, names=NAMES, size=tiny_nets.SIZE):
    served = tf.saved_model.load(path)
    images = tiny_nets.images(size=size)
    for name in names:
        expected = tiny_nets.graph_logits(net, name, images)
        assert _serve(served, name, images).tobytes() == expected.tobytes()


def test_one_signature_per_task_and_the_newest_as_default(net, path):
    served = tf.saved_model.load(path)
    over_all = ["all_tasks", "auto", "by_task", "serving_default"]
    each = [*NAMES, *(f"{name}_bytes" for name in NAMES)]
    assert sorted(served.signatures) == sorted([*each, *over_all])
    signature = served.signatures["a"]
    _, given = signature.structured_input_signature
    assert given == {
        "images": tf.TensorSpec((None, 12, 12, 3), tf.float32, "images")
    }
    images = tiny_nets.images()
    outputs = signature(images=tf.constant(images))
    assert sorted(outputs) == ["classes", "logits", "scores"]
    assert outputs["logits"].dtype == outputs["scores"].dtype == tf.float32
    net.activate("a")
    scores = tf.function(net)(tf.constant(images)).numpy()
    assert outputs["scores"].numpy().tobytes() == scores.tobytes()
    default = _serve(served, "serving_default", images)
    assert default.tobytes() == _serve(served, "c", images).tobytes()


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_logits_have_the_same_bytes_for_any_batch(net, path, batch):
    served = tf.saved_model.load(path)
    images = tiny_nets.images(batch)
    for name in NAMES:
        expected = tiny_nets.graph_logits(net, name, images)
        assert _serve(served, name, images).tobytes() == expected.tobytes()


def test_both_loaders_without_keras_and_packnet_tf(net, path, tmp_path):
    images = tiny_nets.images()
    found = _load_elsewhere(path, images, tmp_path)
    for name in NAMES:
        expected = tiny_nets.graph_logits(net, name, images).tobytes()
        assert found[f"new {name} logits"].tobytes() == expected
        assert found[f"old {name} logits"].tobytes() == expected
        scores = found[f"old {name} scores"].tobytes()
        assert found[f"old all_tasks {name}_scores"].tobytes() == scores
    assert found["old serving_default logits"].tobytes() == expected


def test_classes_are_names_one_row_per_image(tmp_path):
    net = tiny_nets.packed_net(())
    tiny_nets.add_packed(net, "a", class_names=("ant", "bee", "größe"))
    tiny_nets.add_packed(net, "b", classes=2, activation="sigmoid")
    served = tf.saved_model.load(export_saved_model(net, tmp_path / "2"))
    images = tiny_nets.images(4)
    names = _serve(served, "a", images, "classes")
    assert names.tolist() == [[b"ant", b"bee", "größe".encode()]] * 4
    names = _serve(served, "b", images, "classes")
    assert names.tolist() == [[b"0", b"1"]] * 4
    logits = _serve(served, "b", images)
    scores = _serve(served, "b", images, "scores")
    assert np.array_equal(scores, tf.sigmoid(logits).numpy())


def _sizes(net):
    """Returns how many weights the kernels, private variables, heads have."""
    kernels = sum(int(np.sum(k.mask != 0)) for k in net.masked_kernels())
    private = sum(int(np.prod(v.shape)) for v in net.private_variables)
    return kernels, private, (tiny_nets.FEATURES + 1) * 3


def _stored_weights(path):
    """Returns how many weights a SavedModel has: 3 bytes of each are plain."""
    assert tf.train.list_variables(str(path / "variables" / "variables")) == [
        ("_CHECKPOINTABLE_OBJECT_GRAPH", [])
    ]
    return os.path.getsize(path / "assets" / "float32.low") / 3


def test_each_owned_weight_is_stored_once(net, path):
    kernels, private, head = _sizes(net)
    stored = _stored_weights(path)
    assert kernels < stored <= kernels + (private + head) * len(NAMES) + 20


def test_frozen_private_variables_are_stored_once(tmp_path):
    net = tiny_nets.packed_net(("a", "b"), private="frozen")
    path = export_saved_model(net, tmp_path / "2")
    kernels, private, head = _sizes(net)
    assert _stored_weights(path) <= kernels + private + head * 2 + 20
    _assert_same_logits(net, path, ("a", "b"))


@pytest.mark.parametrize("batch", [1, 5])
def test_views_on_the_fly_have_the_same_bytes(net, tmp_path, batch):
    path = export_saved_model(net, tmp_path / "3", layout="on_the_fly")
    served = tf.saved_model.load(path)
    images = tiny_nets.images(batch)
    for name in NAMES:
        expected = tiny_nets.graph_logits(net, name, images)
        assert _serve(served, name, images).tobytes() == expected.tobytes()


def test_both_layouts_in_one_process_do_not_mix(net, path, tmp_path):
    other = export_saved_model(net, tmp_path / "3", layout="on_the_fly")
    served = [tf.saved_model.load(p) for p in (path, other)]
    images = tiny_nets.images()
    for name in NAMES:
        one, two = (_serve(s, name, images) for s in served)
        assert one.tobytes() == two.tobytes()


def test_states_side_by_side_never_mix(tmp_path):
    net = tiny_nets.packed_net(("a", "b"))
    images = tiny_nets.images()
    paths = [export_saved_model(net, tmp_path / "2")]
    tiny_nets.add_packed(net, "c")
    paths.append(export_saved_model(net, tmp_path / "3"))
    other = tiny_nets.packed_net(("a", "b"), seed=3)
    paths.append(export_saved_model(other, tmp_path / "other"))
    served = [tf.saved_model.load(path) for path in paths]
    expected = [
        tiny_nets.graph_logits(owner, "a", images).tobytes()
        for owner in (net, net, other)
    ]
    assert expected[0] != expected[2]
    for loaded, logits in zip(served, expected, strict=True):
        assert _serve(loaded, "a", images).tobytes() == logits


def test_a_copy_goes_on_when_another_is_dropped(net, path):
    images = tiny_nets.images()
    expected = tiny_nets.graph_logits(net, "a", images).tobytes()
    one, two = tf.saved_model.load(path), tf.saved_model.load(path)
    assert _serve(one, "a", images).tobytes() == expected
    del one
    assert _serve(two, "a", images).tobytes() == expected
    signature = two.signatures["a"]
    del two
    found = signature(images=tf.constant(images))["logits"].numpy()
    assert found.tobytes() == expected


def test_exporting_twice_answers_the_same(net, path, tmp_path):
    again = tf.saved_model.load(export_saved_model(net, tmp_path / "3"))
    served = tf.saved_model.load(path)
    images = tiny_nets.images()
    for name in NAMES:
        one, two = (_serve(s, name, images) for s in (served, again))
        assert one.tobytes() == two.tobytes()


def test_export_leaves_the_network_as_it_was(net, tmp_path):
    net.activate("b")
    images = tiny_nets.images()
    before = net(images).numpy()
    views = [kernel.layer.view_task for kernel in net.masked_kernels()]
    constants = [
        layer.mean
        for layer in net.backbone.layers
        if isinstance(layer, keras.layers.Normalization)
    ]
    export_saved_model(net, tmp_path / "3")
    assert net.active_task.name == "b"
    assert views == [k.layer.view_task for k in net.masked_kernels()]
    assert net(images).numpy().tobytes() == before.tobytes()
    net.verify_digests()
    for layer in net.backbone.layers:
        if isinstance(layer, keras.layers.Normalization):
            assert layer.mean is constants.pop(0)


def test_a_mirrored_network_inside_its_scope(tmp_path):
    strategy = make_strategy(2)
    net = tiny_nets.packed_net(("a", "b"), strategy=strategy)
    path = export_saved_model(net, tmp_path / "outside")
    _assert_same_logits(net, path, ("a", "b"))
    with strategy.scope():
        path = export_saved_model(net, tmp_path / "inside")
    _assert_same_logits(net, path, ("a", "b"))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(tmp_path, policy):
    keras.utils.set_random_seed(0)
    net = PackNet(tiny_nets.backbone(dtype=policy))
    for name in ("a", "b"):
        tiny_nets.add_packed(net, name)
    path = export_saved_model(net, tmp_path / "2")
    _assert_same_logits(net, path, ("a", "b"))


def test_a_deep_network_is_computed_in_the_same_order(tmp_path):
    # TensorFlow reorders sums of normalized values by what it knows of
    # their shapes; it must know the same of the served program.
    layers = keras.layers
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(4, 1)(inputs)
    for _ in range(30):
        y = layers.BatchNormalization()(layers.Conv2D(4, 1)(x))
        x = layers.Activation("hard_silu")(layers.Add()([x, y]))
    net = PackNet(keras.Model(inputs, layers.Flatten()(x)))
    for name in ("a", "b"):
        tiny_nets.add_packed(net, name)
    path = export_saved_model(net, tmp_path / "2")
    _assert_same_logits(net, path, ("a", "b"), size=6)


def test_a_task_without_a_head_gives_features(tmp_path):
    net = tiny_nets.packed_net(())
    tiny_nets.add_packed(net, "base", classes=0)
    images = tiny_nets.images()
    served = tf.saved_model.load(export_saved_model(net, tmp_path / "1"))
    expected = tiny_nets.graph_logits(net, "base", images).tobytes()
    for name in ("base", "serving_default"):
        found = _serve(served, name, images, "features")
        assert found.tobytes() == expected
    tiny_nets.add_packed(net, "a")
    served = tf.saved_model.load(export_saved_model(net, tmp_path / "2"))
    assert _serve(served, "base", images, "features").tobytes() == expected
    assert _serve(served, "serving_default", images).shape == (5, 3)


def test_an_open_image_size_has_to_be_given(tmp_path):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3)(inputs)
    net = PackNet(keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(x)))
    tiny_nets.add_packed(net, "a")
    tiny_nets.add_packed(net, "b")
    with pytest.raises(NetworkError, match="give image_size"):
        export_saved_model(net, tmp_path / "2")
    assert os.listdir(tmp_path) == []
    path = export_saved_model(net, tmp_path / "2", image_size=9)
    _assert_same_logits(net, path, ("a", "b"), size=9)
