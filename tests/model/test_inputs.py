"""Networks that take something else than images."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import two_tasks

from packnet_tf.errors import NetworkError
from packnet_tf.model.packnet import PackNet
from packnet_tf.serving.saved_model import export_saved_model

layers = keras.layers
RNG = np.random.default_rng(3)
ROWS = 12


def table():
    """Rows of a table, and what adapts to them."""
    x = RNG.normal(5, 2, (ROWS, 6)).astype("float32")
    adapted = layers.Normalization()
    adapted.adapt(x)
    inputs = keras.Input((6,), name="row")
    y = layers.Dense(16, activation="relu")(adapted(inputs))
    return keras.Model(inputs, layers.Dense(8, activation="relu")(y)), x


def mapping():
    """A dict of tensors of several types."""
    x = {
        "words": RNG.integers(0, 9, (ROWS, 5)).astype("int32"),
        "size": RNG.normal(size=(ROWS, 2)).astype("float32"),
        "kind": RNG.integers(0, 4, (ROWS, 1)).astype("int64"),
    }
    inputs = {
        "words": keras.Input((None,), dtype="int32", name="words"),
        "size": keras.Input((2,), name="size"),
        # The name is another than the key, as users may have it.
        "kind": keras.Input((1,), dtype="int64", name="kind_of_it"),
    }
    hot = layers.CategoryEncoding(9, output_mode="count")(inputs["words"])
    kind = layers.CategoryEncoding(4, output_mode="one_hot")(inputs["kind"])
    y = layers.Concatenate()([hot, inputs["size"], kind])
    return keras.Model(inputs, layers.Dense(10, activation="relu")(y)), x


def several():
    """A list of inputs."""
    x = [
        RNG.normal(size=(ROWS, 4)).astype("float32"),
        RNG.normal(size=(ROWS, 3, 2)).astype("float32"),
    ]
    inputs = [keras.Input((4,), name="left"), keras.Input((3, 2), name="right")]
    y = layers.Concatenate()([inputs[0], layers.Flatten()(inputs[1])])
    return keras.Model(inputs, layers.Dense(10, activation="relu")(y)), x


@pytest.mark.parametrize(
    ("make", "names"),
    [(table, ["row"]), (mapping, []), (several, ["left", "right"])],
)
def test_any_inputs_from_training_to_files(make, names, tmp_path):
    keras.utils.set_random_seed(0)
    backbone, x = make()
    net, packed = two_tasks.pack_two(backbone, x)
    y = two_tasks.labels(ROWS)
    assert np.isfinite(net.evaluate(x, y, verbose=0))
    slices = (tuple(x) if isinstance(x, list) else x, y)
    rows = tf.data.Dataset.from_tensor_slices(slices).batch(4)
    assert np.isfinite(net.evaluate(rows, verbose=0))
    net = two_tasks.check_files(net, packed, x, tmp_path)
    two_tasks.check_served(net, x, tmp_path / "2", names)


def test_a_signature_has_the_types_and_open_sizes_of_the_inputs(tmp_path):
    net = PackNet(mapping()[0])
    net.add_task("base", 0)
    net.pack()
    model = tf.saved_model.load(export_saved_model(net, tmp_path / "1"))
    _, given = model.signatures["base"].structured_input_signature
    assert given == {
        "words": tf.TensorSpec((None, None), tf.int32, "words"),
        "size": tf.TensorSpec((None, 2), tf.float32, "size"),
        "kind": tf.TensorSpec((None, 1), tf.int64, "kind"),
    }


def test_text_is_looked_up_in_the_backbone(tmp_path):
    words = ["a good film", "a bad film", "good", "bad bad"] * 3
    lookup = layers.TextVectorization(
        output_mode="multi_hot", vocabulary=["a", "good", "bad", "film"]
    )
    inputs = keras.Input((), dtype="string", name="text")
    y = layers.Dense(8, activation="relu")(lookup(inputs))
    x = tf.constant(words)
    net, packed = two_tasks.pack_two(keras.Model(inputs, y), x)
    two_tasks.check_files(net, packed, x, tmp_path)


@keras.saving.register_keras_serializable("test_inputs")
class Pair(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        from packnet_tf.layers import MaskedDense

        self.dense = MaskedDense(4)

    def call(self, inputs):
        return self.dense(inputs["a"]) + self.dense(inputs["b"])


def test_a_subclassed_backbone_with_a_dict(tmp_path):
    x = {k: RNG.normal(size=(8, 5)).astype("float32") for k in ("a", "b")}
    backbone = Pair()
    backbone(x)
    net, packed = two_tasks.pack_two(backbone, x)
    net.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    for name, expected in packed.items():
        assert two_tasks.scores(loaded, name, x) == expected
    with pytest.raises(NetworkError, match="wrap it in a functional model"):
        export_saved_model(net, tmp_path / "2")
