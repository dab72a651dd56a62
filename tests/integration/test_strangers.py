"""Networks that this package has never seen, through the Python API.

Each packs two tasks with no special code; the first answers with the same
bytes after the second, and so do both from a file and as extracted models.
"""

import keras
import numpy as np
import pytest
from support import two_tasks

import packnet_tf as pn
from packnet_tf.layers import MaskedConv2D, MaskedDense

layers = keras.layers
RNG = np.random.default_rng(8)
IMAGES = RNG.uniform(0, 255, (8, 16, 16, 3)).astype("float32")


def pack_and_check(backbone, x, folder, **options):
    net, packed = two_tasks.pack_two(backbone, x, **options)
    return two_tasks.check_files(net, packed, x, folder)


# Deep networks take long to trace: a minute each.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "options"),
    [
        (keras.applications.MobileNetV2, {"alpha": 0.35}),
        (
            keras.applications.MobileNetV3Large,
            {"alpha": 0.75, "minimalistic": True},
        ),
    ],
)
def test_keras_applications(make, options, tmp_path):
    keras.utils.set_random_seed(0)
    images = RNG.uniform(0, 255, (8, 32, 32, 3)).astype("float32")
    backbone = make(
        (32, 32, 3),
        include_top=False,
        weights=None,
        pooling="avg",
        **options,
    )
    net, packed = two_tasks.pack_two(backbone, images, retrain=False)
    two_tasks.check_files(net, packed, images, tmp_path, extract=False)


def unet():
    """Two levels, skip connections, transposed convolutions."""

    def block(x, width):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization()(x))

    inputs = keras.Input((16, 16, 3))
    fine = block(layers.Rescaling(1 / 255)(inputs), 4)
    middle = block(layers.MaxPooling2D()(fine), 6)
    x = block(layers.MaxPooling2D()(middle), 8)
    x = layers.Conv2DTranspose(6, 2, strides=2)(x)
    x = block(layers.Concatenate()([x, middle]), 6)
    x = layers.Conv2DTranspose(4, 2, strides=2)(x)
    return keras.Model(inputs, block(layers.Concatenate()([x, fine]), 4))


def test_unet_for_pixels_and_for_whole_images(tmp_path):
    keras.utils.set_random_seed(0)
    net = pn.PackNet(unet())
    pixels = RNG.integers(0, 3, (8, 16, 16))
    packed = {}
    two_tasks.pack(net, "pixels", IMAGES, pixels, head=layers.Conv2D(3, 1))
    packed["pixels"] = two_tasks.scores(net, "pixels", IMAGES)
    pooled = keras.Sequential(
        [layers.GlobalAveragePooling2D(), layers.Dense(5)]
    )
    two_tasks.pack(
        net, "images", IMAGES, two_tasks.labels(8, 5), 5, head=pooled
    )
    packed["images"] = two_tasks.scores(net, "images", IMAGES)
    assert two_tasks.scores(net, "pixels", IMAGES) == packed["pixels"]
    loaded = two_tasks.check_files(net, packed, IMAGES, tmp_path)
    two_tasks.check_served(loaded, IMAGES, tmp_path / "2", ["images"])


def test_siamese_network_with_a_layer_used_twice(tmp_path):
    keras.utils.set_random_seed(0)
    one, other = keras.Input((6,), name="one"), keras.Input((6,), name="other")
    shared = layers.Dense(10, activation="relu", name="shared")
    encode = keras.Sequential([layers.Dense(8), layers.ReLU()])
    a, b = encode(shared(one)), encode(shared(other))
    distance = layers.Subtract()([a, b])
    product = layers.Multiply()([a, b])
    features = layers.Concatenate()([distance, product])
    x = [RNG.normal(size=(12, 6)).astype("float32") for _ in range(2)]
    net = pack_and_check(keras.Model([one, other], features), x, tmp_path)
    assert len(net.masked_kernels()) == 2
    two_tasks.check_served(net, x, tmp_path / "2", ["one", "other"])


def test_text_classifier_with_embedding_and_attention(tmp_path):
    keras.utils.set_random_seed(0)
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = layers.Embedding(20, 8, mask_zero=True)(ids)
    y = layers.MultiHeadAttention(2, 4)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling1D()(x)
    backbone = keras.Model(ids, layers.Dense(8, activation="gelu")(x))
    text = RNG.integers(0, 20, (12, 7)).astype("int32")
    text[:, 0], text[:6, 5:] = 1, 0
    net = pack_and_check(backbone, text, tmp_path)
    two_tasks.check_served(net, text, tmp_path / "2", ["ids"])


@pytest.mark.parametrize("private", ["per_task", "frozen"])
def test_normalization_of_every_kind(private, tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(6, 3, strides=2)(layers.Rescaling(1 / 255)(inputs))
    x = layers.PReLU(shared_axes=[1, 2])(layers.GroupNormalization(3)(x))
    x = layers.Conv2D(6, 3, strides=2)(layers.BatchNormalization()(x))
    x = layers.Dense(8)(layers.LayerNormalization()(layers.Flatten()(x)))
    backbone = keras.Model(inputs, layers.UnitNormalization()(x))
    net = pack_and_check(backbone, IMAGES, tmp_path, private=private)
    same = [
        a.tobytes() == b.tobytes()
        for a, b in zip(
            net.private_values("one"), net.private_values("two"), strict=True
        )
    ]
    assert len(same) == 12 and set(same) == {private == "frozen"}


def test_models_inside_models(tmp_path):
    keras.utils.set_random_seed(0)
    inner = keras.Sequential(
        [layers.Conv2D(4, 3), layers.BatchNormalization()], name="inner"
    )
    inputs = keras.Input((16, 16, 3))
    middle = keras.Model(inputs, layers.ReLU()(inner(inputs)), name="middle")
    outer = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Rescaling(1 / 255),
            middle,
            layers.GlobalMaxPooling2D(),
            layers.Dense(6),
        ]
    )
    net = pack_and_check(outer, IMAGES, tmp_path)
    assert len(net.masked_kernels()) == 2


def random_net():
    keras.utils.set_random_seed(4)
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Rescaling(1 / 255),
            layers.GaussianNoise(0.1),
            layers.Conv2D(6, 3, strides=2, activation="relu"),
            layers.SpatialDropout2D(0.3),
            layers.Conv2D(6, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.4),
            layers.Dense(8),
        ]
    )


def test_random_layers_train_reproducibly(tmp_path):
    runs = []
    for _ in range(2):
        net, packed = two_tasks.pack_two(random_net(), IMAGES)
        weights = [np.asarray(w).tobytes() for w in net.weights]
        runs.append((packed, weights, [task.digest for task in net.tasks]))
    assert runs[0] == runs[1]
    two_tasks.check_files(net, packed, IMAGES, tmp_path)


# Subclassed models.


@keras.saving.register_keras_serializable("test_strangers")
class Block(keras.layers.Layer):
    """A residual block; its inner layers are made in `build`."""

    def build(self, input_shape):
        width = input_shape[-1]
        self.first = MaskedConv2D(width, 3, padding="same")
        self.second = MaskedConv2D(width, 3, padding="same")
        self.norm = layers.BatchNormalization()
        for layer in (self.first, self.norm, self.second):
            layer.build(input_shape)

    def call(self, x, training=None):
        y = self.norm(self.first(x), training=training)
        return x + self.second(keras.ops.relu(y))


@keras.saving.register_keras_serializable("test_strangers")
class Residual(keras.Model):
    """A user's network, with layers of this package where Keras's were."""

    def __init__(self, width, blocks, **kwargs):
        super().__init__(**kwargs)
        self.width, self.blocks = width, blocks
        self.rescale = layers.Rescaling(1 / 255)
        self.stem = MaskedConv2D(width, 3, strides=2)
        self.body = [Block() for _ in range(blocks)]
        self.dropout = layers.Dropout(0.1)
        self.top = MaskedDense(8, activation="relu")

    def call(self, images, training=None):
        x = self.stem(self.rescale(images))
        for block in self.body:
            x = block(x, training=training)
        x = keras.ops.mean(x, axis=(1, 2))
        return self.top(self.dropout(x, training=training))

    def get_config(self):
        return {
            **super().get_config(),
            "width": self.width,
            "blocks": self.blocks,
        }


def test_a_subclassed_model_of_masked_layers(tmp_path):
    keras.utils.set_random_seed(0)
    backbone = Residual(4, 2)
    backbone(IMAGES[:1])  # builds it
    net, packed = two_tasks.pack_two(backbone, IMAGES)
    assert len(net.masked_kernels()) == 6
    net.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    for name, expected in packed.items():
        assert two_tasks.scores(loaded, name, IMAGES) == expected
    two_tasks.check_served(loaded, IMAGES, tmp_path / "2", ["images"])
    two_tasks.pack(loaded, "three", IMAGES, two_tasks.labels(8), retrain=False)
    assert two_tasks.scores(loaded, "one", IMAGES) == packed["one"]
    with pytest.raises(pn.ConversionError, match="subclassed Residual"):
        pn.extract(loaded, "one")


class Plain(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = layers.Conv2D(4, 3, name="stem")
        self.top = layers.Dense(3, name="top")

    def call(self, images):
        return self.top(keras.ops.mean(self.conv(images), axis=(1, 2)))


def test_a_subclassed_model_of_plain_layers_is_told_what_to_change():
    model = Plain()
    with pytest.raises(pn.ConversionError, match="is not built.*call it on"):
        pn.PackNet(model)
    model(IMAGES)
    with pytest.raises(pn.ConversionError) as raised:
        pn.PackNet(model)
    message = str(raised.value)
    assert "\n" not in message
    assert "subclassed Plain" in message and "packnet_tf.layers" in message
    assert "'stem' (use MaskedConv2D for Conv2D)" in message
    assert "'top' (use MaskedDense for Dense)" in message
