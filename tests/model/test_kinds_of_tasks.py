"""One network with tasks of every kind: heads, losses, metrics."""

import keras
import numpy as np
import pytest
from support import two_tasks
from support.head_nets import (
    NUMBERS,
    ONE_OF_3,
    SEVERAL,
    Bilinear,
    X,
    backbone,
    small_model,
)

import packnet_tf as pn
from packnet_tf.errors import TaskError


@pytest.fixture(scope="module")
def mixed():
    """One network with tasks of every kind, and the bytes of each."""
    keras.utils.set_random_seed(0)
    net = pn.PackNet(backbone())
    packed = {}

    def add(name, y, loss, **task):
        two_tasks.pack(net, name, X, y, loss=loss, retrain=False, **task)
        packed[name] = two_tasks.scores(net, name, X)

    add(
        "kinds",
        ONE_OF_3,
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    add(
        "labels",
        SEVERAL,
        "binary_crossentropy",
        classes=4,
        activation="sigmoid",
        metrics=["binary_accuracy"],
    )
    add(
        "numbers",
        NUMBERS,
        "mse",
        classes=2,
        activation="linear",
        metrics=["mae"],
    )
    add(
        "logits",
        ONE_OF_3,
        activation="linear",
        metrics=["accuracy"],
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    add(
        "model",
        ONE_OF_3,
        "sparse_categorical_crossentropy",
        classes=None,
        head=small_model(),
    )
    add(
        "layer",
        NUMBERS,
        keras.losses.Huber(),
        classes=2,
        activation="linear",
        head=Bilinear(2),
    )
    return net, packed


def test_packed_tasks_of_all_kinds_keep_their_bytes(mixed, tmp_path):
    net, packed = mixed
    for name, expected in packed.items():
        assert two_tasks.scores(net, name, X) == expected, name
    loaded = two_tasks.check_files(net, packed, X, tmp_path)
    assert two_tasks.scores(loaded, "model", X) == packed["model"]
    name = net.backbone.inputs[0].name
    two_tasks.check_served(net, X, tmp_path / "6", [name])


def test_what_a_task_records(mixed):
    net, _ = mixed
    assert [(t.classes, t.activation, t.loss) for t in net.tasks] == [
        (3, "softmax", "sparse_categorical_crossentropy"),
        (4, "sigmoid", "binary_crossentropy"),
        (2, "linear", "mean_squared_error"),
        (3, "linear", "sparse_categorical_crossentropy"),
        (3, "softmax", "sparse_categorical_crossentropy"),
        (2, "linear", "huber"),
    ]
    assert [t.head is None for t in net.tasks] == [True] * 4 + [False] * 2
    assert net.tasks[5].head["class_name"] == "Bilinear"
    assert net.head_of("layer").name == "head_6"


def test_scores_are_what_the_activation_says(mixed):
    net, _ = mixed
    net.activate("labels")
    expected = keras.ops.sigmoid(net.logits(X, training=False))
    assert np.asarray(net(X)).tobytes() == np.asarray(expected).tobytes()
    for name in ("numbers", "logits"):
        net.activate(name)
        logits = np.asarray(net.logits(X, training=False))
        assert np.asarray(net(X)).tobytes() == logits.tobytes()
        assert logits.min() < 0


def test_each_task_is_evaluated_by_losses_of_its_kind(mixed):
    net, _ = mixed
    net.activate("numbers")
    net.compile("adam", "mae", metrics=["mse"])
    assert np.isfinite(net.evaluate(X, NUMBERS, verbose=0)).all()
    net.activate("kinds")
    with pytest.raises(TaskError, match="'kinds' was trained with sparse"):
        net.evaluate(X, ONE_OF_3, verbose=0)
    one_hot = np.eye(3, dtype="float32")[ONE_OF_3]
    net.compile("adam", "categorical_crossentropy")
    assert np.isfinite(net.evaluate(X, one_hot, verbose=0))
    net.activate("numbers")
    with pytest.raises(TaskError, match="outputs are linear"):
        net.evaluate(X, NUMBERS, verbose=0)
    # What was trained with logits may be evaluated with another such loss.
    net.activate("logits")
    net.compile("adam", keras.losses.CategoricalCrossentropy(from_logits=True))
    assert np.isfinite(net.evaluate(X, one_hot, verbose=0))
    net.compile("adam", "mse")
    with pytest.raises(TaskError, match="'logits' was trained with sparse"):
        net.evaluate(X, one_hot, verbose=0)


def test_a_network_compiled_for_another_task_is_loaded(mixed, tmp_path):
    net, _ = mixed
    net.activate("kinds")
    net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    net.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    assert loaded.active_task.name == "layer"
    with pytest.raises(TaskError, match="'layer' was trained with huber"):
        loaded.evaluate(X, NUMBERS, verbose=0)
    loaded.activate("kinds")
    assert loaded.evaluate(X, ONE_OF_3, verbose=0) == net.evaluate(
        X, ONE_OF_3, verbose=0
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"class_names": 3}, "class_names=3; expected a list of strings"),
        ({"class_names": "abc"}, "class_names='abc'; expected a list"),
        ({"class_names": [1, 2, 3]}, "expected a list of strings"),
        ({"class_names": ["a", "b"]}, "3 classes but 2 class names"),
        ({"seed": -1}, "seed=-1: expected a whole number"),
        ({"seed": 0.5}, "seed=0.5: expected a whole number"),
    ],
)
def test_names_and_seeds_are_checked(option, message):
    net = pn.PackNet(backbone())
    with pytest.raises(TaskError, match=message):
        net.add_task("a", 3, **option)
    assert net.tasks == () and net.capacity == 1.0
