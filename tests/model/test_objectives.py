"""Losses and metrics have the shape and the state of one task."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import blob_nets as nets
from support.blob_nets import A_LABELS, A

from packnet_tf.errors import TaskError
from packnet_tf.model.objectives import fresh

FIVE, FIVE_LABELS = nets.blobs(2, classes=5)


def one_hot(labels, classes):
    return keras.utils.to_categorical(labels, classes)


def two_sizes(metrics, again=True, loss="categorical_crossentropy"):
    """Returns a network of tasks with 3 and 5 classes."""
    net = nets.new_net()
    tasks = (("three", 3, A, A_LABELS), ("five", 5, FIVE, FIVE_LABELS))
    for name, classes, x, labels in tasks:
        net.add_task(name, classes)
        if again or not net.compiled:
            net.compile("adam", loss, metrics=metrics())
        net.fit(x, one_hot(labels, classes), verbose=0)
        net.prune(0.5)
        net.pack()
    return net


def figures(net, name):
    net.activate(name)
    x, labels = (A, A_LABELS) if name == "three" else (FIVE, FIVE_LABELS)
    found = net.evaluate(
        x, one_hot(labels, net.active_task.classes), verbose=0, return_dict=True
    )
    return {key: np.asarray(value).tolist() for key, value in found.items()}


SETS = {
    "f1": lambda: [keras.metrics.F1Score()],
    "auc": lambda: [keras.metrics.AUC(multi_label=True, name="auc")],
    "by class": lambda: [keras.metrics.Precision(class_id=0, name="p")],
    "named": lambda: ["accuracy"],
    "function": lambda: [
        lambda true, scores: keras.ops.mean(scores, axis=-1),
        keras.metrics.MeanMetricWrapper(
            lambda true, scores: keras.ops.max(scores, axis=-1), name="top"
        ),
    ],
}


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("metrics", SETS.values(), ids=SETS)
def test_tasks_of_other_sizes_are_evaluated_in_turn(metrics, again):
    net = two_sizes(metrics, again)
    first = {name: figures(net, name) for name in ("three", "five")}
    assert {name: figures(net, name) for name in ("three", "five")} == first
    net.compile("adam", "categorical_crossentropy", metrics=metrics())
    assert {name: figures(net, name) for name in ("three", "five")} == first


def test_accuracy_is_the_one_that_suits_the_task():
    net = nets.new_net()
    net.add_task("three", 3)
    net.compile("adam", "crossentropy", metrics=["accuracy"])
    net.fit(A, one_hot(A_LABELS, 3), verbose=0)
    net.prune(0.5)
    net.pack()
    net.add_task("yes", 1, activation="sigmoid")
    yes = (A_LABELS == 0).astype("float32")[:, None]
    history = net.fit(A, yes, epochs=1, verbose=0).history
    net.reset_metrics()
    _, accuracy = net.evaluate(A, yes, verbose=0)
    right = (net.predict(A, verbose=0) > 0.5) == (yes > 0.5)
    assert accuracy == pytest.approx(np.mean(right))
    assert "accuracy" in history


class Counting(keras.metrics.Metric):
    def __init__(self, step, name="counting", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.step = step
        self.count = self.add_variable((), "zeros", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.count.assign_add(self.step)

    def result(self):
        return self.count


class Defaulting(Counting):
    def __init__(self, step=1, **kwargs):
        super().__init__(step, **kwargs)


class Complete(Counting):
    def get_config(self):
        return {**super().get_config(), "step": self.step}


@pytest.mark.parametrize("metric", [Counting, Defaulting])
def test_a_metric_that_cannot_be_made_again_is_named(metric):
    net = two_sizes(lambda: [metric(2)])
    assert figures(net, "five")["counting"] == 14
    for step in (
        lambda: figures(net, "three"),
        lambda: net.test_on_batch(A, one_hot(A_LABELS, 3)),
    ):
        with pytest.raises(TaskError, match="'counting'.*lacks step"):
            step()
    # It is of no concern to predictions.
    net.predict(A, verbose=0)
    assert figures(net, "five")["counting"] == 14
    net.activate("three")
    net.compile("adam", "categorical_crossentropy", metrics=[metric(3)])
    assert figures(net, "three")["counting"] == 21


def test_a_metric_of_ones_own_is_made_from_its_configuration():
    net = two_sizes(lambda: [Complete(2)], again=False)
    assert figures(net, "three")["counting"] == 14
    assert figures(net, "five")["counting"] == 14


class Running(keras.losses.Loss):
    """A loss with a running mean of its own."""

    def __init__(self, name="running", **kwargs):
        super().__init__(name=name)
        self.mean = tf.Variable(0.0)

    def call(self, y_true, y_pred):
        self.mean.assign_add(1.0)
        return keras.losses.categorical_crossentropy(y_true, y_pred) + (
            0 * self.mean
        )


def test_a_loss_with_state_is_made_again_too():
    loss = Running()
    (again,) = fresh([loss])
    assert again is not loss and again.mean is not loss.mean
    plain = keras.losses.Huber()
    assert fresh(plain) is plain
