import inspect
import pathlib
import urllib.error

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.legacy.saving import legacy_h5_format

from packnet_tf import networks
from packnet_tf.conversion import mask_model
from packnet_tf.errors import NetworkError
from packnet_tf.networks import available, build, parse_options
from packnet_tf.networks import weights as weights_module
from packnet_tf.networks.preprocessing import apply, mode_of
from packnet_tf.replicas import make_strategy

# The smallest network of keras.applications.
MOBILENET = {"alpha": 0.25}


def pixels(size, count=3):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (count, size, size, 3)).astype("float32")


def mobilenet(size=32, **options):
    return keras.applications.MobileNet(
        alpha=0.25, weights=None, input_shape=(size, size, 3), **options
    )


@pytest.fixture(scope="module")
def mobilenet_file(tmp_path_factory):
    """A trained-looking network: its statistics are not the initial ones."""
    keras.utils.set_random_seed(1)
    model = mobilenet()
    model(pixels(32, 8), training=True)
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    model.save_weights(path)
    return model, str(path)


def names_and_paths(model):
    return [part.name for part in model._flatten_layers()] + [
        variable.path for variable in model.weights
    ]


# Options.


def test_options_are_read():
    text = " alpha=0.75, depth_multiplier=1,minimalistic=True,x=abc,"
    assert parse_options(text) == {
        "alpha": 0.75,
        "depth_multiplier": 1,
        "minimalistic": True,
        "x": "abc",
    }
    assert parse_options("") == {}


@pytest.mark.parametrize("text", ["alpha", "alpha=", "=1", "a=1,b", "a=1,a=2"])
def test_options_of_another_form_are_refused(text):
    with pytest.raises(
        NetworkError, match="--network_options: '(alpha|=1|a|b)"
    ):
        parse_options(text)


def test_all_constructors_are_available_and_their_preprocessing_is_known():
    assert {"cnn", "vgg16", "resnet50", "densenet121"} < set(available())
    for name, value in vars(keras.applications).items():
        if inspect.isfunction(value):
            assert name.lower() in available()
            assert mode_of(name)


# Preprocessing.


@pytest.mark.parametrize(
    "mode, module",
    [
        ("tf", keras.applications.mobilenet),
        ("caffe", keras.applications.vgg16),
        ("torch", keras.applications.densenet),
        ("inside", keras.applications.efficientnet),
    ],
)
def test_preprocessing_is_that_of_keras(mode, module):
    images = keras.Input((8, 8, 3))
    model = keras.Model(images, apply(mode, images))
    found = np.asarray(model(pixels(8)))
    expected = np.asarray(module.preprocess_input(pixels(8)))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("mode", ["tf", "caffe", "torch", "efficientnet"])
def test_preprocessing_is_stock_keras_and_float32(mode, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        images = keras.Input((8, 8, 3))
        model = keras.Model(images, apply(mode, images))
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.output.dtype == "float32"
    for operation in model.operations:
        assert type(operation).__module__.startswith("keras.")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert np.array_equal(loaded(pixels(8)), model(pixels(8)))


def test_preprocessing_of_an_unknown_family_is_refused():
    with pytest.raises(NetworkError, match="of NewNet's weights is not known"):
        mode_of("NewNet")


# The small network.


def test_cnn():
    network = build("cnn", image_size=28, weights="none")
    assert network.backbone.output_shape == (None, 192)
    assert 100_000 < network.backbone.count_params() < 300_000
    assert (network.head, network.classes) == (None, 0)
    assert network.head_agreement is None and network.class_names is None
    kinds = {type(layer) for layer in network.backbone.layers}
    assert keras.layers.BatchNormalization in kinds
    wide = build(
        "CNN",
        image_size=8,
        weights="none",
        options={"width": 8, "dropout": 0.1},
    )
    assert wide.backbone.output_shape == (None, 32)
    assert wide.backbone.layers[-1].rate == 0.1


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"weights": "imagenet"}, "there are none for cnn; use --weights=none"),
        ({"image_size": 7}, "--image_size=7: cnn takes 8 pixels"),
        ({"options": {"width": 0}}, "width=0 of cnn has to be 1 or more"),
        ({"options": {"width": "w"}}, "width='w' of cnn has to be a whole"),
        ({"options": {"width": True}}, "width=True of cnn has to be a whole"),
        ({"options": {"dropout": 1}}, "dropout=1 of cnn has to be from 0"),
        ({"options": {"widht": 8}}, "mean width.*it has dropout, width"),
    ],
)
def test_cnn_refuses(changes, message):
    with pytest.raises(NetworkError, match=message):
        build("cnn", **{"image_size": 28, "weights": "none", **changes})


# Names, seeds, strategies.


@pytest.mark.parametrize("name, size", [("cnn", 16), ("mobilenetv3small", 32)])
def test_the_same_names_and_weights_every_time(name, size):
    models = []
    for seed in (3, 3, 4):
        keras.utils.set_random_seed(seed)
        network = build(name, image_size=size, weights="none")
        models.append(network.backbone)
        keras.layers.Conv2D(1, 1)  # Moves Keras's counters on.
    first, second, third = models
    assert names_and_paths(first) == names_and_paths(second)
    assert first.to_json() == second.to_json()
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        assert a.tobytes() == b.tobytes()
    assert any(
        a.tobytes() != b.tobytes()
        for a, b in zip(first.get_weights(), third.get_weights(), strict=True)
    )


def test_layers_built_later_keep_their_numbers():
    before = keras.layers.ReLU().name
    build("mobilenet", image_size=32, weights="none", options=MOBILENET)
    number = int(before.rpartition("_")[2]) if "_lu_" in before else 0
    assert keras.layers.ReLU().name == f"re_lu_{number + 1}"


@pytest.mark.parametrize("name", ["cnn", "mobilenet"])
def test_in_a_strategy(name, mobilenet_file):
    arguments = {"image_size": 32, "weights": "none"}
    if name == "mobilenet":
        arguments |= {"weights": mobilenet_file[1], "options": MOBILENET}
    keras.utils.set_random_seed(0)
    plain = build(name, **arguments)
    strategy = make_strategy(2)
    keras.utils.set_random_seed(0)
    with strategy.scope():
        network = build(name, **arguments)
    variable = network.backbone.weights[0].value
    assert isinstance(variable, tf.distribute.DistributedValues)
    expected = plain.backbone.get_weights()
    for a, b in zip(network.backbone.get_weights(), expected, strict=True):
        assert a.tobytes() == b.tobytes()
    assert network.head_agreement == plain.head_agreement


# Networks of keras.applications.


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
    with pytest.raises(NetworkError, match="no such layer; its last ones are"):
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


# VGG: fc6 and fc7 in the backbone.


def small_vgg(input_shape, classes):
    """As Keras's, in small."""
    images = keras.Input(input_shape)
    x = keras.layers.Conv2D(4, 3, name="block1_conv1")(images)
    x = keras.layers.Flatten(name="flatten")(x)
    for name in ("fc1", "fc2"):
        x = keras.layers.Dense(16, activation="relu", name=name)(x)
    x = keras.layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(images, x, name="vgg16")


@pytest.fixture
def vgg(monkeypatch, tmp_path):
    def VGG16(  # noqa: N802
        weights=None, input_shape=(32, 32, 3), classes=10, name="vgg16"
    ):
        if weights == "imagenet" and input_shape != (32, 32, 3):
            raise ValueError("`input_shape` should be (32, 32, 3)")
        return small_vgg(input_shape, classes)

    monkeypatch.setattr(keras.applications, "VGG16", VGG16)
    model = VGG16()
    model.save_weights(tmp_path / "vgg.weights.h5")
    return model, str(tmp_path / "vgg.weights.h5")


def test_vgg_has_fc6_and_fc7_with_dropout_in_its_backbone(vgg):
    model, path = vgg
    network = build("vgg16", image_size=32, weights=path)
    body = network.backbone.layers[-1]
    assert [layer.name for layer in body.layers[-4:]] == [
        "fc1",
        "fc1_dropout",
        "fc2",
        "fc2_dropout",
    ]
    assert {layer.rate for layer in body.layers[-3::2]} == {0.5}
    assert network.preprocessing == "caffe"
    assert network.head_agreement == {"top1": 1.0, "largest_difference": 0.0}
    prepared = keras.applications.vgg16.preprocess_input(pixels(32))
    scores = keras.ops.softmax(network.head(network.backbone(pixels(32))))
    np.testing.assert_allclose(
        np.asarray(scores), np.asarray(model(prepared)), rtol=1e-3, atol=1e-6
    )
    masked = mask_model(network.backbone)
    assert np.array_equal(masked(pixels(32)), network.backbone(pixels(32)))


def test_vgg_dropout_is_an_option(vgg):
    arguments = {"image_size": 32, "weights": "none"}
    for rate, rates in ((0.3, [0.3, 0.3]), (0, [])):
        network = build("vgg16", options={"dropout": rate}, **arguments)
        body = network.backbone.layers[-1]
        found = [x for x in body.layers if isinstance(x, keras.layers.Dropout)]
        assert [layer.rate for layer in found] == rates
    with pytest.raises(NetworkError, match="dropout=1.5 of vgg16"):
        build("vgg16", options={"dropout": 1.5}, **arguments)


def test_vgg_weights_of_another_size_are_refused(vgg):
    with pytest.raises(NetworkError) as error:
        build("vgg16", image_size=48, weights=vgg[1])
    message = str(error.value)
    assert "layer 'fc1' has an array of shape (3600, 16) in the file" in message
    assert "one image size alone" in message and "\n" not in message


# Published weights.


def published(monkeypatch, answer):
    """Makes the download of any file do what `answer` does."""
    from keras.src.utils import file_utils

    monkeypatch.setattr(file_utils, "urlretrieve", answer)


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    from keras.src import backend

    monkeypatch.setattr(backend.config, "_KERAS_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))


def test_without_a_network_the_file_to_fetch_is_named(monkeypatch, no_cache):
    def refuse(*_):
        raise urllib.error.URLError("no network")

    published(monkeypatch, refuse)
    with pytest.raises(NetworkError) as error:
        build("mobilenet", image_size=96, options=MOBILENET)
    message = str(error.value)
    assert "mobilenet_2_5_224_tf.h5 on a machine" in message
    assert "--weights=FILE" in message and "\n" not in message


def damaged(origin, target, *_):
    pathlib.Path(target).write_bytes(b"half of it")


def test_a_damaged_download_names_the_file_too(monkeypatch, no_cache):
    from keras.src.utils import file_utils

    published(monkeypatch, damaged)
    model = mobilenet()

    def MobileNet(weights=None, input_shape=None):  # noqa: N802
        if weights == "imagenet":
            file_utils.get_file(
                "net.h5", "https://host/net.h5", file_hash="0" * 32
            )
        return model

    monkeypatch.setattr(keras.applications, "MobileNet", MobileNet)
    with pytest.raises(NetworkError) as error:
        build("mobilenet", image_size=32)
    message = str(error.value)
    assert "hash" in message and "fetch https://host/net.h5 on a" in message


def test_a_damaged_file_in_the_cache_is_named(monkeypatch, no_cache):
    # Keras has no hash of this one, and would use it again next time.
    published(monkeypatch, damaged)
    with pytest.raises(NetworkError, match="cannot be read.*delete it from"):
        build("mobilenet", image_size=224, options=MOBILENET)


def test_published_weights_at_another_size(monkeypatch, mobilenet_file):
    from keras.src.utils import file_utils

    model, path = mobilenet_file
    asked = []

    def get_file(name, origin, **_):
        asked.append(name)
        return path

    monkeypatch.setattr(file_utils, "get_file", get_file)
    network = build("mobilenet", image_size=48, options=MOBILENET)
    # At 224 pixels, where the weights are published, and brought to 48.
    assert asked == ["mobilenet_2_5_224_tf.h5"]
    direct = build("mobilenet", image_size=48, weights=path, options=MOBILENET)
    for a, b in zip(
        network.backbone.get_weights(),
        direct.backbone.get_weights(),
        strict=True,
    ):
        assert a.tobytes() == b.tobytes()
    assert network.head_agreement == direct.head_agreement
    assert network.class_names[0] == "n01440764"


def test_published_weights_that_do_not_fit_are_not_fetched(
    vgg, monkeypatch, no_cache
):
    published(monkeypatch, lambda *_: pytest.fail("fetched"))
    message = r"fc1.*\(3600, 16\) in them, and \(8464.*--image_size=32"
    with pytest.raises(NetworkError, match=message):
        build("vgg16", image_size=48)


@pytest.mark.slow
def test_efficientnet_weights_are_the_same_fetched_and_by_file(
    monkeypatch, tmp_path
):
    from keras.src.utils import file_utils

    constructor = keras.applications.EfficientNetB0
    model = constructor(weights=None, input_shape=(32, 32, 3))
    layer = next(
        x for x in model.layers if isinstance(x, keras.layers.Normalization)
    )
    layer.adapt_mean.assign([0.485, 0.456, 0.406])
    layer.adapt_variance.assign([0.229**2, 0.224**2, 0.225**2])
    path = str(tmp_path / "b0.weights.h5")
    model.save_weights(path)
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: path)
    expected = constructor(weights="imagenet")(pixels(224, 1))
    for source in ("imagenet", path):
        network = build("efficientnetb0", image_size=224, weights=source)
        assert network.preprocessing == "efficientnet"
        logits = network.head(network.backbone(pixels(224, 1)))
        np.testing.assert_allclose(
            np.asarray(keras.ops.softmax(logits)), expected, rtol=1e-3
        )
    random = build("efficientnetb0", image_size=32, weights="none")
    assert random.preprocessing == "inside"


# What cannot be used.


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("mobilent", {}, "Unknown network 'mobilent': did you mean mobilenet"),
        ("zzz", {}, "Unknown network 'zzz': Expected cnn, mlp, vit, a n"),
        ("mobilenet", {"image_size": 20}, "must be at least 32x32.*image_size"),
        ("mobilenet", {"image_size": 0}, "--image_size=0: expected a whole"),
        ("mobilenet", {"image_size": 96.0}, "--image_size=96.0: expected"),
        ("mobilenet", {"image_size": "96"}, "--image_size='96': expected"),
        ("mobilenet", {"image_size": True}, "--image_size=True: expected"),
        ("mobilenet", {"options": {"alhpa": 1}}, "mean alpha.*alpha, classes"),
        (
            "mobilenet",
            {"options": {"alpha": "x"}},
            "alpha='x' of mobilenet has",
        ),
        ("mobilenet", {"options": {"pooling": "max"}}, "no option 'pooling'"),
        (
            "mobilenet",
            {"weights": "gone.h5"},
            "--weights=gone.h5: no such file",
        ),
        ("gone.keras", {}, "--network=gone.keras: no such file"),
    ],
)
def test_bad_arguments(name, changes, message):
    with pytest.raises(NetworkError, match=message) as error:
        build(name, **{"image_size": 32, "weights": "none", **changes})
    assert "\n" not in str(error.value)


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


# A user's own file.


def save(tmp_path, outputs_of, shape=(16, 16, 3)):
    """Saves a functional model as a file and returns model and path."""
    keras.utils.set_random_seed(2)
    images = keras.Input(shape)
    model = keras.Model(images, outputs_of(images), name="own")
    path = tmp_path / "own.keras"
    model.save(path)
    return model, str(path)


def trunk(images):
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(6, 3, activation="relu", name="conv")(x)
    return keras.layers.GlobalAveragePooling2D()(x)


def test_file_with_a_head(tmp_path):
    def outputs(images):
        x = keras.layers.Dense(12, activation="relu", name="hidden")(
            trunk(images)
        )
        x = keras.layers.Dropout(0.2)(x)
        x = keras.layers.Dense(5, use_bias=False, name="top")(x)
        return keras.layers.Softmax()(x)

    model, path = save(tmp_path, outputs)
    network = build(path, image_size=16)
    assert network.preprocessing == "inside"
    assert network.backbone.output_shape == (None, 12)
    assert network.classes == 5 and not network.head.use_bias
    assert network.head_agreement["top1"] == 1.0
    scores = keras.ops.softmax(network.head(network.backbone(pixels(16))))
    assert np.array_equal(scores, model(pixels(16)))

    other = build(path, image_size=16, head_layer="none")
    assert other.head is None
    assert np.array_equal(other.backbone(pixels(16)), model(pixels(16)))

    # What follows the head is then another network: measured, not hidden.
    with pytest.raises(NetworkError, match=r"outputs of shape \(5,\)"):
        build(path, image_size=16, head_layer="hidden")
    with pytest.raises(NetworkError, match="has no option 'alpha'.*none"):
        build(path, image_size=16, options={"alpha": 1})


def test_the_agreement_tells_of_a_head_that_is_not_all(tmp_path):
    def outputs(images):
        x = keras.layers.Dense(5, name="top")(trunk(images))
        return keras.layers.Rescaling(-1.0)(x)

    _, path = save(tmp_path, outputs)
    found = build(path, image_size=16).head_agreement
    assert found["top1"] < 0.5 and found["largest_difference"] > 0


def test_file_of_any_size_and_with_a_convolution_for_a_head(tmp_path):
    def outputs(images):
        x = trunk(images)
        x = keras.layers.Reshape((1, 1, 6))(x)
        x = keras.layers.Conv2D(4, 1, name="top")(x)
        return keras.layers.Flatten()(x)

    model, path = save(tmp_path, outputs, (None, None, 3))
    network = build(path, image_size=20)
    assert network.backbone.input_shape == (None, 20, 20, 3)
    assert network.backbone.output_shape == (None, 6)
    assert network.classes == 4
    logits = network.head(network.backbone(pixels(20)))
    np.testing.assert_allclose(logits, model(pixels(20)), rtol=1e-4, atol=1e-6)


def test_sequential_file_with_the_network_inside_another(tmp_path):
    inner = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(6, 3),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dense(3, name="top"),
        ],
        name="inner",
    )
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Rescaling(1 / 255),
            inner,
            keras.layers.Softmax(),
        ]
    )
    path = str(tmp_path / "own.keras")
    model.save(path)
    network = build(path, image_size=16)
    assert network.backbone.output_shape == (None, 6)
    scores = keras.ops.softmax(network.head(network.backbone(pixels(16))))
    assert np.array_equal(scores, model(pixels(16)))
    masked = mask_model(network.backbone)
    assert np.array_equal(masked(pixels(16)), network.backbone(pixels(16)))


def test_file_of_masked_layers(tmp_path):
    model, _ = save(
        tmp_path, lambda x: keras.layers.Dense(3, name="top")(trunk(x))
    )
    mask_model(model).save(tmp_path / "masked.keras")
    network = build(str(tmp_path / "masked.keras"), image_size=16)
    assert type(network.head) is keras.layers.Dense
    logits = network.head(network.backbone(pixels(16)))
    assert np.array_equal(logits, model(pixels(16)))


def test_files_that_cannot_be_used(tmp_path):
    _, path = save(tmp_path, trunk)
    with pytest.raises(NetworkError, match="images of 16 x 16 pixels; give"):
        build(path, image_size=32)
    with pytest.raises(NetworkError, match="'conv' of own.*cannot be a head"):
        build(path, image_size=16)
    assert build(path, image_size=16, head_layer="none").classes == 0

    (tmp_path / "bad.keras").write_bytes(b"PK nothing")
    with pytest.raises(NetworkError, match="bad.keras cannot be loaded"):
        build(str(tmp_path / "bad.keras"), image_size=16)

    _, path = save(tmp_path, trunk, (16, 16, 1))
    with pytest.raises(NetworkError, match="expected one of images"):
        build(path, image_size=16)

    _, path = save(tmp_path, lambda x: keras.layers.Dense(1)(trunk(x)))
    with pytest.raises(NetworkError, match="has one output"):
        build(path, image_size=16)

    def twice(images):
        layer = keras.layers.Dense(6, name="shared")
        return layer(layer(trunk(images)))

    _, path = save(tmp_path, twice)
    with pytest.raises(NetworkError, match="'shared'.*used more than once"):
        build(path, image_size=16)

    def two(images):
        x = trunk(images)
        return [keras.layers.Dense(3)(x), x]

    _, path = save(tmp_path, two)
    with pytest.raises(NetworkError, match="own has 2 outputs"):
        build(path, image_size=16)

    def deep(images):
        x = images
        for _ in range(4):
            x = keras.layers.MaxPooling2D()(x)
        x = keras.layers.GlobalMaxPooling2D()(keras.layers.Conv2D(3, 3)(x))
        return keras.layers.Dense(3)(x)

    _, path = save(tmp_path, deep, (None, None, 3))
    with pytest.raises(NetworkError, match="not take images of 16 x 16") as e:
        build(path, image_size=16)
    assert "\n" not in str(e.value)


def test_code_in_a_file_is_not_run(tmp_path):
    def outputs(images):
        return keras.layers.Lambda(lambda x: x[:, 0, 0])(images)

    _, path = save(tmp_path, outputs)
    with pytest.raises(NetworkError, match="cannot be loaded: .*lambda"):
        build(path, image_size=16)


def test_public_names_have_docstrings():
    for name in networks.__all__:
        assert getattr(networks, name).__doc__


# The real thing.


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
