"""Vision Transformers, of stock layers and of KerasHub, with two tasks."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from packnet_tf.convert.coverage import coverage
from packnet_tf.convert.mask_model import mask_model
from packnet_tf.model.extract import extract
from packnet_tf.model.packnet import PackNet
from packnet_tf.networks import build

SIZE = 8
OPTIONS = {
    "patch_size": 4,
    "width": 8,
    "depth": 2,
    "heads": 2,
    "dropout": 0.1,
    "stochastic_depth": 0.3,
}
KINDS = ("stock", "clip", "hub")
SLOW = pytest.mark.slow


def stock():
    network = build("vit", image_size=SIZE, weights="none", options=OPTIONS)
    return network.backbone


def keras_hub():
    return pytest.importorskip(
        "keras_hub", reason="KerasHub: pip install packnet_tf[hub]"
    )


def hub():
    """A Vision Transformer whose layers give configs they do not take."""
    body = keras_hub().models.ViTBackbone(
        image_shape=(SIZE, SIZE, 3),
        patch_size=4,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=16,
        dropout_rate=0.1,
        use_patch_bias=False,
    )
    images = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    return keras.Model(images, keras.layers.GlobalAveragePooling1D()(body(x)))


def clip():
    body = keras_hub().models.CLIPVisionEncoder(
        image_shape=(SIZE, SIZE, 3),
        patch_size=4,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        intermediate_activation="quick_gelu",
    )
    images = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(images)
    x = keras.layers.GlobalAveragePooling1D()(body({"images": x}))
    x = keras.layers.Dropout(0.1)(x)
    return keras.Model(images, x)


def backbone_of(kind):
    return {"stock": stock, "clip": clip, "hub": hub}[kind]()


def pixels(count=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 255, (count, SIZE, SIZE, 3)).astype("float32")


def add(net, name, seed):
    """Trains, prunes, retrains and packs a task of three classes."""
    x, y = pixels(16, seed), np.arange(16) % 3
    net.add_task(name, 3, seed=seed)
    net.compile("adamw", "sparse_categorical_crossentropy")
    net.fit(x, y, batch_size=8, verbose=0)
    net.prune(0.5)
    net.fit(x, y, batch_size=8, verbose=0)
    net.pack()


def trained(kind, private="per_task", seed=0, names=("first", "second")):
    keras.utils.set_random_seed(seed)
    net = PackNet(backbone_of(kind), private=private)
    for i, name in enumerate(names):
        add(net, name, i)
    return net


def answers(net, task):
    """Returns a task's answers, by three ways to ask, as bytes."""
    net.activate(task)
    program = tf.function(
        lambda x: net.logits(x, training=False), autograph=False
    )
    return [
        np.asarray(out).tobytes()
        for out in (
            program(tf.constant(pixels())),
            net.predict(pixels(), verbose=0),
            net(pixels(), training=False),
        )
    ]


def state(net):
    """All that was learned; not where the random numbers are."""
    return [
        np.asarray(v).tobytes()
        for v in net.variables
        if "seed_generator" not in v.path
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_conversion_keeps_the_bytes(kind):
    model = backbone_of(kind)
    before = np.asarray(model(pixels()))
    masked = mask_model(model)
    assert np.asarray(masked(pixels())).tobytes() == before.tobytes()
    found = coverage(masked)
    # In each of two blocks: four projections and two dense layers; before
    # them the patches' projection, and in KerasHub's the places.
    assert found.layers_masked == {"stock": 13, "clip": 14, "hub": 14}[kind]
    assert not found.skipped


@SLOW
@pytest.mark.parametrize("private", ["per_task", "frozen"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_second_task_leaves_the_first_as_it_is(kind, private, tmp_path):
    net = trained(kind, private, names=("first",))
    before = answers(net, "first")
    values = net.private_values("first")
    add(net, "second", 1)
    assert answers(net, "first") == before
    assert answers(net, "second") != before
    net.verify_digests()
    # Scales, offsets and places are the second task's own, or the first's.
    same = [
        np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(values, net.private_values("second"), strict=True)
    ]
    assert all(same) == (private == "frozen")
    plain = extract(net, "first")
    found = plain.predict(pixels(), verbose=0)
    net.activate("first")
    assert found.tobytes() == net.predict(pixels(), verbose=0).tobytes()
    net.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    assert answers(loaded, "first") == before


def test_training_with_dropout_is_repeatable():
    def fitted(seed):
        keras.utils.set_random_seed(seed)
        net = PackNet(stock())
        net.add_task("only", 3)
        net.compile("adamw", "sparse_categorical_crossentropy")
        net.fit(pixels(16), np.arange(16) % 3, batch_size=8, verbose=0)
        return net

    net, again, other = fitted(0), fitted(0), fitted(1)
    assert state(net) == state(again)
    assert state(net) != state(other)
    # It is at work: the same images give other answers each time.
    drawn = [np.asarray(net(pixels(), training=True)) for _ in range(2)]
    assert drawn[0].tobytes() != drawn[1].tobytes()
