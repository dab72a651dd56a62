"""Layers that models inside a model share: refused when a file is written."""

import keras
import numpy as np
import pytest
from keras import layers
from support import old_nets, sessions, two_tasks
from support.tiny_runs import make_images

import packnet_tf as pn
from packnet_tf.data import open_task
from packnet_tf.networks import Network
from packnet_tf.workflow import session


def test_they_stay_one_until_a_file_is_written(tmp_path):
    x = old_nets.ROWS
    with pytest.warns(UserWarning, match="'both' .* cannot be saved"):
        net = pn.PackNet(old_nets.shared())
    assert len(net.masked_kernels()) == 3
    packed = {}
    for name in ("one", "two"):
        two_tasks.pack(net, name, x, np.arange(4) % 3, retrain=False)
        packed[name] = two_tasks.scores(net, name, x)
    assert two_tasks.scores(net, "one", x) == packed["one"]
    plain = pn.extract(net, "one")
    assert plain.predict(x, verbose=0).tobytes() == packed["one"]
    with pytest.raises(
        pn.ConversionError, match="Layer 'both' is in model '.*' and in model"
    ) as raised:
        net.save(tmp_path / "net.keras")
    message = str(raised.value)
    assert "'left'" in message and "a layer of its own" in message
    assert "\n" not in message and not list(tmp_path.iterdir())


def test_a_layer_without_weights_may_be_shared(tmp_path):
    keras.utils.set_random_seed(0)
    relu = layers.ReLU()
    left = keras.Sequential([keras.Input((5,)), layers.Dense(4), relu])
    right = keras.Sequential([keras.Input((5,)), layers.Dense(4), relu])
    inputs = keras.Input((5,))
    x = layers.Add()([left(inputs), right(inputs), left(inputs)])
    net, packed = two_tasks.pack_two(keras.Model(inputs, x), old_nets.ROWS)
    two_tasks.check_files(net, packed, old_nets.ROWS, tmp_path)


def test_a_run_is_refused_before_it_trains(tmp_path, monkeypatch):
    images = keras.Input((sessions.SIZE, sessions.SIZE, 3))
    pooled = layers.GlobalAveragePooling2D()(images)
    features = old_nets.shared()(layers.Dense(5)(pooled))
    backbone = keras.Model(images, features)
    network = Network(backbone, None, 0, None, "inside", None)
    monkeypatch.setattr(session, "build", lambda *args, **how: network)
    data = {"first": open_task("first", make_images(tmp_path / "images"))}
    with (
        pytest.warns(UserWarning, match="'both'"),
        pytest.raises(pn.ConversionError, match="Layer 'both' is in model"),
    ):
        sessions.run(tmp_path / "w", data)
    assert not list((tmp_path / "w").rglob("*.h5"))
