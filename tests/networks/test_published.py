"""Published weights: fetched, damaged, brought to another size."""

import urllib.error

import keras
import numpy as np
import pytest
from support.network_parts import (
    MOBILENET,
    damaged,
    mobilenet,
    pixels,
    published,
)

from packnet_tf.errors import NetworkError
from packnet_tf.networks import build


def test_without_a_network_the_file_to_fetch_is_named(monkeypatch, no_cache):
    def refuse(*_):
        raise urllib.error.URLError("no network")

    published(monkeypatch, refuse)
    with pytest.raises(NetworkError) as error:
        build("mobilenet", image_size=96, options=MOBILENET)
    message = str(error.value)
    assert "mobilenet_2_5_224_tf.h5 on another machine" in message
    assert "--weights=FILE" in message and "\n" not in message


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
    assert "hash" in message and "download https://host/net.h5 on a" in message


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
