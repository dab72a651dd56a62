"""Heads of the user's own, and the backbones that they stand on."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support import two_tasks
from support.head_nets import (
    NUMBERS,
    ONE_OF_3,
    RNG,
    ROWS,
    Bilinear,
    X,
    backbone,
    small_model,
)

import packnet_tf as pn
from packnet_tf.errors import ConversionError, TaskError
from packnet_tf.layers import MaskedDense
from packnet_tf.model.heads import last_activation
from packnet_tf.model.replicas import make_strategy


def test_a_built_head_is_copied_with_its_weights():
    head = keras.Sequential(
        [keras.Input((8,)), layers.Dense(4), layers.Dense(3)]
    )
    before = head.get_weights()
    net = pn.PackNet(backbone())
    task = net.add_task("a", head=head)
    assert task.classes == 3 and task.trained
    made = net.head_of("a")
    assert made is not head and len(made.weights) == 4
    for a, b in zip(made.get_weights(), before, strict=True):
        assert a.tobytes() == b.tobytes()
    # The user's layer may go on to serve another task.
    net.pack()
    made = net.head_of("a")
    head.layers[0].kernel.assign(head.layers[0].kernel + 1)
    net.verify_digests()
    assert made.get_weights()[0].tobytes() == before[0].tobytes()


EXTRAS = {
    "regularizer": {"kernel_regularizer": keras.regularizers.L2(0.25)},
    "activity": {"activity_regularizer": "l1"},
    "constraint": {"bias_constraint": keras.constraints.NonNeg()},
    "no bias": {"use_bias": False},
    "frozen": {"trainable": False},
}


@pytest.mark.parametrize("extra", EXTRAS.values(), ids=EXTRAS)
def test_a_built_dense_keeps_all_that_it_has(extra, tmp_path):
    head = layers.Dense(3, **extra)
    head.build((None, 8))
    net = pn.PackNet(backbone())
    two_tasks.pack(net, "a", X, ONE_OF_3)
    net.add_task("b", 3, head=head)
    path = tmp_path / "net.keras"
    net.save(path)
    for made in (net, keras.saving.load_model(path)):
        made = made.head_of("b")
        assert {**made.get_config(), "name": ""} == {
            **head.get_config(),
            "name": "",
        }
        assert made.trainable == head.trainable
        for a, b in zip(made.weights, head.weights, strict=True):
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    net.compile("adam", "sparse_categorical_crossentropy")
    two_tasks.train(net, X, ONE_OF_3)
    net.prune(0.5)
    net.pack()
    two_tasks.check_files(
        net,
        {name: two_tasks.scores(net, name, X) for name in ("a", "b")},
        X,
        tmp_path,
    )


def test_a_head_is_private_to_its_task_and_never_pruned():
    net = pn.PackNet(backbone(), private="frozen")
    head = small_model()
    net.add_task("a", 0)
    net.prune(0.5)
    net.pack()
    net.add_task("b", 3, head=head)
    net.compile("adam", "sparse_categorical_crossentropy")
    made = net.head_of("b")
    before = [w.copy() for w in made.get_weights()]
    two_tasks.train(net, X, ONE_OF_3)
    trained = [w.copy() for w in made.get_weights()]
    # Moving statistics of a head move, though the backbone's are frozen.
    assert len(trained) == 8
    for a, b in zip(before, trained, strict=True):
        assert a.tobytes() != b.tobytes()
    net.prune(0.5)
    for a, b in zip(made.get_weights(), trained, strict=True):
        assert a.tobytes() == b.tobytes()
    net.pack()
    net.add_task("c", 3, head=head)
    other = net.head_of("c")
    assert not {id(w) for w in made.weights} & {id(w) for w in other.weights}
    kernels = {id(k.variable) for k in net.masked_kernels()}
    assert not kernels & {id(w) for w in (*made.weights, *other.weights)}


def test_a_head_of_ones_own_on_two_replicas():
    keras.utils.set_random_seed(0)
    with make_strategy(2).scope():
        net = pn.PackNet(backbone())
    two_tasks.pack(
        net, "a", X[:15], ONE_OF_3[:15], head=small_model(), retrain=False
    )
    before = two_tasks.scores(net, "a", X)
    net.add_task("b", 2, head=Bilinear(2), activation="linear")
    net.compile("adam", "mse", metrics=["mae"])
    two_tasks.train(net, X, NUMBERS)
    assert two_tasks.scores(net, "a", X) == before
    net.verify_digests()


def test_an_unbuilt_head_has_to_be_trained():
    net = pn.PackNet(backbone())
    net.add_task("a", 3, head=small_model())
    with pytest.raises(pn.PhaseError, match="has not been trained"):
        net.prune(0.5)


def maps():
    """A backbone that gives a feature map."""
    return keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            layers.Conv2D(5, 3, padding="same", activation="relu"),
            layers.Conv2D(4, 3, padding="same", activation="relu"),
        ]
    )


def test_a_head_on_a_feature_map(tmp_path):
    x = RNG.uniform(0, 255, (4, 6, 6, 3)).astype("float32")
    pixels = RNG.integers(0, 2, (4, 6, 6))
    keras.utils.set_random_seed(0)
    net = pn.PackNet(maps())
    packed = {}
    two_tasks.pack(
        net,
        "pixels",
        x,
        pixels,
        2,
        head=layers.Conv2D(2, 1),
        metrics=["accuracy"],
    )
    packed["pixels"] = two_tasks.scores(net, "pixels", x)
    two_tasks.pack(net, "whole", x, two_tasks.labels(4))
    packed["whole"] = two_tasks.scores(net, "whole", x)
    two_tasks.pack(
        net,
        "depth",
        x,
        pixels[..., None].astype("float32"),
        classes=1,
        loss="mae",
        activation="linear",
        head=layers.Dense(1),
    )
    packed["depth"] = two_tasks.scores(net, "depth", x)
    two_tasks.check_files(net, packed, x, tmp_path)
    model = two_tasks.check_served(net, x, tmp_path / "3", ["images"])
    answer = model.signatures["pixels"](images=tf.constant(x))
    assert answer["scores"].shape == (4, 6, 6, 2)


def test_a_classifier_with_weights_for_flat_features_gets_them_flat():
    net = pn.PackNet(maps())
    head = layers.Dense(3)
    head.build((None, 6 * 6 * 4))
    task = net.add_task("a", 3, head=head)
    assert task.head is None and task.trained
    assert net.logits(np.zeros((2, 6, 6, 3), "float32")).shape == (2, 3)
    made = net.head_of("a").kernel
    assert np.array_equal(np.asarray(made), np.asarray(head.kernel))


def test_padded_steps_stay_out_of_the_loss_and_the_head(tmp_path):
    ids = RNG.integers(1, 9, (ROWS, 6)).astype("float32")[..., None]
    ids[:, 4:] = 0
    tags = RNG.integers(0, 3, (ROWS, 6))
    tags_of_padding_changed = np.where(ids[..., 0] == 0, 2 - tags, tags)

    def sequence():
        inputs = keras.Input((6, 1), name="steps")
        y = layers.Dense(8)(layers.Masking()(inputs))
        return keras.Model(inputs, y)

    net = pn.PackNet(sequence())
    two_tasks.pack(net, "tags", ids, tags, head=layers.Dense(3))
    losses = [
        net.evaluate(ids, y, verbose=0) for y in (tags, tags_of_padding_changed)
    ]
    assert losses[0] == losses[1]
    head = keras.Sequential([layers.GlobalAveragePooling1D(), layers.Dense(3)])
    two_tasks.pack(net, "mean", ids, ONE_OF_3, head=head)
    net.activate("mean")
    assert np.array_equal(
        np.asarray(net.logits(ids, training=False)),
        np.asarray(net.head_of("mean")(net.backbone(ids))),
    )
    two_tasks.check_served(net, ids, tmp_path / "2", ["steps"])


class NoConfig(keras.layers.Layer):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, inputs):
        return self.function(inputs)


def _two_outputs():
    inputs = keras.Input((8,))
    return keras.Model(
        inputs, [layers.Dense(3)(inputs), layers.Dense(2)(inputs)]
    )


@pytest.mark.parametrize(
    ("head", "classes", "message"),
    [
        (3, 3, "is a int; expected a Keras layer"),
        (layers.Dense(4), 3, r"classes=3.*outputs of shape \(None, 4\)"),
        (layers.Conv2D(3, 1), 3, r"does not take.*\(None, 8\)"),
        (_two_outputs(), 3, "several outputs"),
        (layers.Dense(3, activation="softmax"), 3, "softmax would follow"),
        (NoConfig(len), 3, r"cannot be made again from its get_config\(\)"),
        (layers.Dense(3), 0, "has a head, and classes=0"),
        (layers.Dense(3), -2, "classes=-2; expected 1 or more"),
        (None, None, "classes=None; expected 1 or more"),
        (keras.Sequential([keras.Input((7,)), layers.Dense(3)]), 3, "not take"),
    ],
)
def test_heads_that_do_not_fit_are_refused(head, classes, message):
    net = pn.PackNet(backbone())
    with pytest.raises(TaskError, match=message) as raised:
        net.add_task("a", classes, head=head)
    assert "\n" not in str(raised.value)
    assert net.tasks == () and net.capacity == 1.0


@pytest.mark.parametrize("classes", [1.5, 3.0, "3", True, -1, 10**9, [3]])
def test_classes_are_a_whole_number(classes):
    net = pn.PackNet(backbone())
    with pytest.raises(TaskError, match="expected 1 or more") as raised:
        net.add_task("a", classes)
    assert f"classes={classes!r}" in str(raised.value)
    assert net.tasks == () and net.capacity == 1.0
    assert net.add_task("a", np.int64(3)).classes == 3


@pytest.mark.parametrize("activation", ["softplux", None, 3, abs])
def test_activations_are_keras_names(activation):
    net = pn.PackNet(backbone())
    with pytest.raises(TaskError, match="not the name of a Keras activation"):
        net.add_task("a", 3, activation=activation)


def test_what_a_head_ends_in():
    model = small_model()
    assert last_activation(model) is None
    model.build((None, 8))
    assert last_activation(model) == "linear"
    assert last_activation(layers.Dense(3, activation="tanh")) == "tanh"
    assert last_activation(layers.Activation("sigmoid")) == "sigmoid"
    inputs = keras.Input((8,))
    nested = keras.Model(inputs, layers.Softmax()(model(inputs)))
    outer = keras.Sequential([keras.Input((8,)), nested])
    assert last_activation(outer) == "softmax"
    assert last_activation(layers.Flatten()) is None


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = MaskedDense(7)

    def call(self, inputs):
        return self.dense(inputs)


def test_features_of_a_subclassed_backbone_are_counted():
    model = Subclassed()
    model(X)
    assert pn.PackNet(model).feature_count() == 7


class Untraceable(Subclassed):
    def call(self, inputs):
        if not tf.executing_eagerly():
            raise RuntimeError("only\neagerly")
        return self.dense(inputs)


def test_features_that_cannot_be_counted_are_one_line():
    model = Untraceable()
    model.run_eagerly = True
    model(X)
    with pytest.raises(TaskError, match=r"'untraceable'.*compute_output") as e:
        pn.PackNet(model).feature_count()
    assert "\n" not in str(e.value)


def test_open_sizes_and_several_outputs_need_a_head_of_their_own(tmp_path):
    inputs = keras.Input((None, 3))
    a = layers.Dense(4, name="a")(inputs)
    net = pn.PackNet(keras.Model(inputs, a))
    with pytest.raises(TaskError, match=r"\(None, None, 4\).*pooling layer"):
        net.add_task("x", 3)
    inputs = keras.Input((6,))
    a, b = layers.Dense(4)(inputs), layers.Dense(5)(inputs)
    net = pn.PackNet(keras.Model(inputs, [a, b]))
    with pytest.raises(TaskError, match="several outputs"):
        net.add_task("x", 3)
    left, right = keras.Input((4,)), keras.Input((5,))
    joined = layers.Concatenate()([left, right])
    head = keras.Model([left, right], layers.Dense(3)(joined))
    two_tasks.pack(net, "x", X, ONE_OF_3, head=head)
    packed = {"x": two_tasks.scores(net, "x", X)}
    two_tasks.check_files(net, packed, X, tmp_path)


def test_a_backbone_that_grew_is_refused():
    net = pn.PackNet(backbone())
    assert net.masked_kernels()[0] is net.masked_kernels()[0]
    two_tasks.pack(net, "a", X, ONE_OF_3)
    net.backbone.add(layers.Dense(3))
    with pytest.raises(ConversionError, match="takes no new layers"):
        net.verify_digests()
    net.add_task("b", 3)
    net.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(ConversionError, match="takes no new layers"):
        net.fit(X, ONE_OF_3, verbose=0)
