"""Losses and metrics: which of them suit a task."""

import keras
import pytest
from keras import layers
from support.head_nets import (
    ONE_OF_3,
    SEVERAL,
    X,
    backbone,
)

import packnet_tf as pn
from packnet_tf.errors import TaskError
from packnet_tf.model.losses import loss_name

_SPARSE = keras.losses.SparseCategoricalCrossentropy


_BINARY = keras.losses.BinaryCrossentropy


def test_compile_forgets_the_metrics_of_the_task_before():
    net = pn.PackNet(backbone())
    net.add_task("kinds", 3)
    net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    net.compile("adam", "sparse_categorical_crossentropy")
    result = net.train_on_batch(X, ONE_OF_3, return_dict=True)
    assert list(result) == ["loss"]


@pytest.mark.parametrize(
    ("activation", "classes", "loss", "message"),
    [
        ("softmax", 3, _SPARSE(from_logits=True), "scores behind softmax"),
        ("softmax", 3, [_SPARSE(from_logits=True)], "scores behind softmax"),
        ("sigmoid", 3, _BINARY(from_logits=True), "scores behind sigmoid"),
        ("softmax", 3, "binary_crossentropy", "use categorical_cross"),
        ("sigmoid", 3, "categorical_crossentropy", "use binary_cross"),
        ("sigmoid", 3, "crossentropy", "activation='softmax'"),
        ("softmax", 1, "sparse_categorical_crossentropy", "always 0"),
        ("linear", 3, "crossentropy", "from_logits=True"),
        ("linear", 3, _SPARSE(), "activation='softmax'"),
        ("linear", 1, "bce", "activation='sigmoid'"),
        ("linear", 3, keras.losses.binary_focal_crossentropy, "linear"),
    ],
)
def test_losses_that_do_not_suit_are_refused(
    activation, classes, loss, message
):
    net = pn.PackNet(backbone())
    net.add_task("a", classes, activation=activation)
    with pytest.raises(TaskError, match=message):
        net.compile("adam", loss)


@pytest.mark.parametrize(
    ("activation", "classes", "loss"),
    [
        ("softmax", 3, "mse"),  # The score of Brier.
        ("softmax", 3, "crossentropy"),
        ("softmax", 3, "kl_divergence"),
        ("sigmoid", 1, "binary_crossentropy"),
        ("sigmoid", 1, "crossentropy"),
        ("linear", 3, _SPARSE(from_logits=True)),
        ("linear", 1, _BINARY(from_logits=True)),
        ("linear", 1, "hinge"),
        ("tanh", 2, "mae"),
        ("softmax", 3, lambda y_true, y_pred: keras.ops.sum(y_pred, -1)),
        ("softmax", 3, None),
    ],
)
def test_losses_that_may_suit_are_taken(activation, classes, loss):
    net = pn.PackNet(backbone())
    net.add_task("a", classes, activation=activation)
    net.compile("adam", loss)


def test_a_loss_from_before_the_task_is_checked_when_it_trains():
    net = pn.PackNet(backbone())
    net.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    net.add_task("a", 4, activation="sigmoid")
    for train in (net.fit, net.train_on_batch):
        with pytest.raises(TaskError, match="use binary_crossentropy"):
            train(X, SEVERAL)


def test_accuracy_that_would_be_another_is_refused():
    net = pn.PackNet(backbone())
    net.add_task("a", 4, activation="sigmoid")
    with pytest.raises(TaskError, match="use 'binary_accuracy'"):
        net.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    with pytest.raises(TaskError, match="use 'binary_accuracy'"):
        net.compile("adam", "bce", weighted_metrics=[["acc"]])
    net = pn.PackNet(backbone())
    net.add_task("a", 2, activation="linear")
    with pytest.raises(TaskError, match="use 'mae'"):
        net.compile("adam", "mse", metrics=["accuracy"])
    net.compile("adam", "mse", metrics=["mae", keras.metrics.R2Score()])


def test_names_of_losses():
    assert loss_name("mse") == loss_name(keras.losses.MeanSquaredError())
    assert loss_name({"a": "mae"}) == "mean_absolute_error"
    assert loss_name([keras.losses.huber]) == "huber"
    assert loss_name("CE") == "crossentropy"
    assert loss_name(None) is loss_name(["mse", "mae"]) is None


def test_a_head_that_ends_in_its_own_softmax_takes_losses_of_scores():
    net = pn.PackNet(backbone())
    head = keras.Sequential([layers.Dense(3), layers.Softmax()])
    net.add_task("a", 3, head=head, activation="linear")
    net.compile("adam", "sparse_categorical_crossentropy")
    with pytest.raises(TaskError, match="scores behind softmax"):
        net.compile("adam", _SPARSE(from_logits=True))
