"""What the tests of networks share."""

import keras
import pytest
from support.network_parts import mobilenet, pixels


@pytest.fixture(scope="module")
def mobilenet_file(tmp_path_factory):
    """A trained-looking network: its statistics are not the initial ones."""
    keras.utils.set_random_seed(1)
    model = mobilenet()
    model(pixels(32, 8), training=True)
    path = tmp_path_factory.mktemp("weights") / "mobilenet.weights.h5"
    model.save_weights(path)
    return model, str(path)


@pytest.fixture
def no_cache(monkeypatch, tmp_path):
    from keras.src import backend

    monkeypatch.setattr(backend.config, "_KERAS_DIR", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
