"""The small networks for the bundled data."""

import keras
import pytest

from packnet_tf.errors import NetworkError
from packnet_tf.networks import build


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
        (
            {"weights": "imagenet"},
            "cnn has no published weights; use --weights=none",
        ),
        ({"image_size": 7}, "--image_size=7: cnn needs 8 pixels"),
        ({"options": {"width": 0}}, "width=0 of cnn must be 1 or more"),
        ({"options": {"width": "w"}}, "width='w' of cnn must be a whole"),
        ({"options": {"width": True}}, "width=True of cnn must be a whole"),
        ({"options": {"dropout": 1}}, "dropout=1 of cnn must be at least 0"),
        ({"options": {"widht": 8}}, "mean width.*it has dropout, width"),
    ],
)
def test_cnn_refuses(changes, message):
    with pytest.raises(NetworkError, match=message):
        build("cnn", **{"image_size": 28, "weights": "none", **changes})
