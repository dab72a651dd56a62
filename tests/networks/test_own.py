"""A user's own network, from a .keras file."""

import keras
import numpy as np
import pytest
from support.network_parts import pixels

from packnet_tf.convert.mask_model import mask_model
from packnet_tf.errors import NetworkError
from packnet_tf.model.packnet import PackNet
from packnet_tf.networks import build


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

    with pytest.raises(NetworkError, match=r"outputs of shape \(5,\)"):
        build(path, image_size=16, head_layer="hidden")
    with pytest.raises(NetworkError, match="has no option 'alpha'.*none"):
        build(path, image_size=16, options={"alpha": 1})


def test_a_head_that_is_not_all_is_refused(tmp_path):
    def outputs(images):
        x = keras.layers.Dense(5, name="top")(trunk(images))
        return keras.layers.Rescaling(-1.0)(x)

    _, path = save(tmp_path, outputs)
    with pytest.raises(NetworkError, match="0% get the same class.*none") as e:
        build(path, image_size=16)
    assert "\n" not in str(e.value)
    assert build(path, image_size=16, head_layer="none").head is None


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


def test_a_file_of_few_owned_weights_is_read(tmp_path):
    """It becomes more than three times its bytes in memory."""
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(400, 1, use_bias=False)(inputs)
    x = keras.layers.Conv2D(1500, 1, use_bias=False)(x)
    net = PackNet(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x)))
    # With a head that is given, a task counts as trained.
    head = keras.layers.Dense(2)
    head.build((None, 1500))
    net.add_task("a", 2, head=head)
    net.prune(0.79)
    net.pack()
    path = tmp_path / "backbone.keras"
    net.backbone.save(path)
    assert 3 * path.stat().st_size + (1 << 20) < 5 * 400 * 1500
    network = build(str(path), image_size=16, head_layer="none")
    assert np.array_equal(
        network.backbone(pixels(16)), net.backbone(pixels(16))
    )


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
    with pytest.raises(NetworkError, match="expected one input of images"):
        build(path, image_size=16)

    _, path = save(tmp_path, lambda x: keras.layers.Dense(1)(trunk(x)))
    with pytest.raises(NetworkError, match="has only one output"):
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
