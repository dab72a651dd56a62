"""Networks of keras.applications, with weights from files."""

import pathlib

import keras
import numpy as np
import pytest
from keras.src.legacy.saving import legacy_h5_format
from support.network_parts import MOBILENET, mobilenet, pixels

from packnet_tf.convert.mask_model import mask_model
from packnet_tf.errors import NetworkError
from packnet_tf.networks import build
from packnet_tf.networks import weights as weights_module


def test_weights_from_a_file_at_another_size(mobilenet_file):
    model, path = mobilenet_file
    network = build("mobilenet", image_size=48, weights=path, options=MOBILENET)
    assert network.backbone.input_shape == (None, 48, 48, 3)
    assert network.backbone.output_shape == (None, 256)
    assert network.preprocessing == "tf"
    assert network.classes == 1000
    layer = model.get_layer("conv_preds")
    kernel, bias = network.head.get_weights()
    assert type(network.head) is keras.layers.Dense and network.head.built
    assert network.head.activation is keras.activations.linear
    assert kernel.tobytes() == np.asarray(layer.kernel).tobytes()
    assert bias.tobytes() == np.asarray(layer.bias).tobytes()
    assert network.head_agreement["top1"] == 1.0
    assert network.head_agreement["largest_difference"] < 1e-4


def test_backbone_and_head_answer_as_the_network_does(mobilenet_file):
    model, path = mobilenet_file
    network = build("mobilenet", image_size=32, weights=path, options=MOBILENET)
    prepared = keras.applications.mobilenet.preprocess_input(pixels(32))
    expected = np.asarray(model(prepared))
    logits = network.head(network.backbone(pixels(32)))
    np.testing.assert_allclose(
        np.asarray(keras.ops.softmax(logits)), expected, rtol=1e-3
    )


def test_the_backbone_can_be_masked_and_saved(mobilenet_file, tmp_path):
    backbone = build(
        "mobilenet",
        image_size=32,
        weights=mobilenet_file[1],
        options=MOBILENET,
    ).backbone
    expected = np.asarray(backbone(pixels(32))).tobytes()
    masked = mask_model(backbone)
    assert np.asarray(masked(pixels(32))).tobytes() == expected
    for part in backbone._flatten_layers():
        assert type(part).__module__.startswith("keras.")
    backbone.save(tmp_path / "backbone.keras")
    loaded = keras.saving.load_model(tmp_path / "backbone.keras")
    assert np.asarray(loaded(pixels(32))).tobytes() == expected


def test_published_files_of_the_older_format_load(mobilenet_file, tmp_path):
    import h5py

    model, path = mobilenet_file
    old = tmp_path / "mobilenet_2_5_224_tf.h5"
    with h5py.File(old, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    arguments = {"image_size": 32, "options": MOBILENET}
    ours = build("mobilenet", weights=str(old), **arguments).backbone
    theirs = build("mobilenet", weights=path, **arguments).backbone
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        assert a.tobytes() == b.tobytes()


def test_random_weights_bring_no_head():
    network = build(
        "mobilenet", image_size=32, weights="none", options=MOBILENET
    )
    assert network.backbone.output_shape == (None, 256)
    assert (network.head, network.classes) == (None, 0)
    assert network.head_agreement is None and network.class_names is None


def test_head_layer_is_the_users(mobilenet_file):
    arguments = {
        "image_size": 32,
        "weights": mobilenet_file[1],
        "options": MOBILENET,
    }
    network = build("mobilenet", head_layer="none", **arguments)
    assert network.backbone.output_shape == (None, 256)
    assert (network.head, network.classes) == (None, 0)
    with pytest.raises(
        NetworkError, match="no such layer; its last layers are"
    ):
        build("mobilenet", head_layer="top", **arguments)
    with pytest.raises(NetworkError, match="'conv_pw_1'.*cannot be a head"):
        build("mobilenet", head_layer="conv_pw_1", **arguments)


def test_classes_of_a_users_own(tmp_path):
    mobilenet(classes=7).save_weights(tmp_path / "own.weights.h5")
    network = build(
        "mobilenet",
        image_size=32,
        weights=str(tmp_path / "own.weights.h5"),
        options={**MOBILENET, "classes": 7},
    )
    assert network.classes == 7 and network.class_names is None


def test_imagenet_names(monkeypatch, tmp_path):
    names = weights_module.imagenet_names()
    assert len(names) == 1000 and list(names) == sorted(names)
    assert names[:2] == ("n01440764", "n01443537")
    monkeypatch.setattr(
        pathlib.Path, "read_text", lambda *_, **__: "n01440764 n01443537"
    )
    assert weights_module.imagenet_names() is None


def test_weights_that_do_not_fit(mobilenet_file, tmp_path, recwarn):
    _, path = mobilenet_file
    with pytest.raises(NetworkError) as error:
        build("mobilenet", image_size=32, weights=path, options={"alpha": 0.5})
    message = str(error.value)
    assert (
        "layer 'conv1' has an array of shape (3, 3, 3, 8) in the f" in message
    )
    assert "(3, 3, 3, 16) in the network" in message and "\n" not in message
    broken = tmp_path / "broken.weights.h5"
    broken.write_bytes(pathlib.Path(path).read_bytes()[:1000])
    text = tmp_path / "notes.txt"
    text.write_text("no weights")
    for file in (broken, text):
        with pytest.raises(NetworkError, match="does not fit mobilenet"):
            build("mobilenet", image_size=32, weights=str(file))
    assert not [w for w in recwarn if "freshly-init" in str(w.message)]


def test_mobilenet_with_imagenet_weights(shared):
    file = shared / "weights" / "mobilenet_0.75_224_imagenet.weights.h5"
    network = build(
        "mobilenet", image_size=96, weights=str(file), options={"alpha": 0.75}
    )
    assert network.backbone.output_shape == (None, 768)
    assert (network.classes, network.preprocessing) == (1000, "tf")
    assert network.head_agreement["top1"] == 1.0
    folders = sorted((shared / "data/imagenet_sample/test").iterdir())
    assert [f.name for f in folders] == list(network.class_names)
    images, labels = [], list(range(0, 1000, 50))
    for label in labels:
        image = keras.utils.load_img(next(folders[label].iterdir()))
        images.append(np.asarray(image.resize((96, 96)), "float32"))
    logits = network.head(network.backbone(np.stack(images)))
    assert np.mean(np.argmax(logits, -1) == labels) > 0.25
