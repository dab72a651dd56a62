"""State beside kernels that must not move once a task is packed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import packnet_tf as pn
from packnet_tf.errors import ConversionError, PhaseError, PromiseError

layers = keras.layers
ROWS = np.random.default_rng(4).normal(size=(8, 6)).astype("float32")
LABELS = np.arange(8) % 3
WORDS = tf.constant([["a b"], ["b c"], ["c a"], ["b"]])


@keras.saving.register_keras_serializable("test_sealed")
class Counter(layers.Layer):
    """Counts its calls: all of them, or those of training alone."""

    def __init__(self, always=True, **kwargs):
        super().__init__(**kwargs)
        self.always = always

    def build(self, shape):
        self.calls = self.add_weight(
            name="calls", shape=(), initializer="zeros", trainable=False
        )

    def call(self, inputs, training=False):
        if self.always or training:
            self.calls.assign(self.calls + 1.0)
        return inputs

    def get_config(self):
        return {**super().get_config(), "always": self.always}


def net_of(layer, shape=(6,), dtype=None):
    return pn.PackNet(
        keras.Sequential(
            [keras.Input(shape, dtype=dtype), layer, layers.Dense(4)]
        )
    )


def start(net, name, x=ROWS):
    net.add_task(name, 3)
    net.compile("sgd", "sparse_categorical_crossentropy")


def pack(net, name, x=ROWS):
    start(net, name)
    net.fit(x, LABELS[: len(x)], verbose=0)
    net.prune(0.5)
    net.pack()


@pytest.mark.parametrize("step", ["evaluate", "predict", "validation"])
def test_a_weight_written_in_inference_is_named_before_a_task_is_packed(step):
    net = net_of(Counter(name="counter"))
    start(net, "a")
    with pytest.raises(ConversionError, match="counter/calls in inference"):
        {
            "evaluate": lambda: net.evaluate(ROWS, LABELS, verbose=0),
            "predict": lambda: net.predict(ROWS, verbose=0),
            "validation": lambda: net.fit(
                ROWS, LABELS, validation_data=(ROWS, LABELS), verbose=0
            ),
        }[step]()


@pytest.mark.parametrize("outer", [False, True])
def test_such_a_weight_is_named_by_the_first_step_of_training(outer):
    """Not after a whole training, by the first question."""
    layer = Counter(name="counter")
    if outer:
        layer = keras.Sequential([keras.Input((6,)), layer])
    net = net_of(layer)
    start(net, "a")
    with pytest.raises(ConversionError, match="counter/calls in inference"):
        net.fit(ROWS, LABELS, verbose=0)
    assert not net.task("a").packed


def test_a_weight_written_in_training_alone_is_each_tasks_own():
    net = net_of(Counter(always=False))
    pack(net, "a")
    before = net.predict(ROWS, verbose=0).tobytes()
    pack(net, "b")
    net.activate("a")
    assert net.predict(ROWS, verbose=0).tobytes() == before
    net.verify_digests()


def test_asking_a_packed_task_eagerly_writes_nothing():
    net = net_of(Counter(name="counter"))
    start(net, "a")
    # A loop of one's own, which nothing looks at.
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(net(ROWS, training=True))
    gradients = tape.gradient(loss, net.trainable_variables)
    net.apply_gradients(gradients)
    net.pack()
    before = net.private_values("a")
    net(ROWS, training=False)
    for one, other in zip(net.private_values("a"), before, strict=True):
        assert one.tobytes() == other.tobytes()
    net.verify_digests()


@pytest.mark.parametrize("kind", ["normalization", "discretization"])
def test_adapt_is_refused_once_a_task_is_packed(kind):
    layer = {
        "normalization": lambda: layers.Normalization(name=kind),
        "discretization": lambda: layers.Discretization(num_bins=3, name=kind),
    }[kind]()
    layer.adapt(ROWS)
    net = net_of(layer)
    inner = net.backbone.get_layer(kind)
    inner.adapt(ROWS + 1)
    pack(net, "a")
    before = net.predict(ROWS, verbose=0).tobytes()
    start(net, "b")
    with pytest.raises(PhaseError, match=f"'{kind}': packed .* a answer"):
        inner.adapt(ROWS * 9)
    net.activate("a")
    assert net.predict(ROWS, verbose=0).tobytes() == before
    # A copy is free to be adapted.
    pn.extract(net, "a").layers[1].adapt(ROWS * 9)
    assert net.predict(ROWS, verbose=0).tobytes() == before


def test_a_vocabulary_changed_by_hand_is_named(tmp_path):
    words = layers.TextVectorization(9, output_sequence_length=2)
    words.adapt(WORDS[:, 0])
    x = layers.Embedding(9, 4)(
        words(given := keras.Input((1,), dtype="string"))
    )
    net = pn.PackNet(keras.Model(given, layers.Flatten()(x)))
    pack(net, "a", WORDS)
    net.save(tmp_path / "n.keras")
    again = keras.saving.load_model(tmp_path / "n.keras")
    again.verify_digests()
    (lookup,) = [
        layer
        for layer in again.backbone._flatten_layers()
        if isinstance(layer, layers.StringLookup)
    ]
    lookup.set_vocabulary(["c", "b", "a"])
    with pytest.raises(PromiseError, match="a would answer.*has vocabulary="):
        again.verify_digests()
