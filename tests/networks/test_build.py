"""What `build` takes, gives and refuses, whatever the network."""

import inspect

import keras
import pytest
import tensorflow as tf
from support.network_parts import MOBILENET, names_and_paths

from packnet_tf import networks
from packnet_tf.errors import NetworkError
from packnet_tf.model.replicas import make_strategy
from packnet_tf.networks import available, build, parse_options
from packnet_tf.networks.preprocessing import mode_of


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
            "alpha='x' of mobilenet must be",
        ),
        ("mobilenet", {"options": {"pooling": "max"}}, "no option 'pooling'"),
        (
            "mobilenet",
            {"weights": "gone.h5"},
            "--weights=gone.h5: no such file",
        ),
        ("cnn", {"head_layer": "nope"}, "--head_layer=nope: cnn has no head"),
        ("gone.keras", {}, "--network=gone.keras: no such file"),
    ],
)
def test_bad_arguments(name, changes, message):
    with pytest.raises(NetworkError, match=message) as error:
        build(name, **{"image_size": 32, "weights": "none", **changes})
    assert "\n" not in str(error.value)


def test_public_names_have_docstrings():
    for name in networks.__all__:
        assert getattr(networks, name).__doc__
