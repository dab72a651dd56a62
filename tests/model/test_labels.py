"""Labels that are no classes of the task are refused, not cut off."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from packnet_tf.errors import TaskError
from packnet_tf.model.packnet import PackNet

X = np.random.default_rng(5).normal(size=(8, 4)).astype("float32")
Y = np.arange(8) % 3


def net_for(loss="sparse_categorical_crossentropy", classes=3):
    net = PackNet(keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)]))
    net.add_task("a", classes)
    net.compile("sgd", loss)
    return net


@pytest.mark.parametrize(
    ("row", "label"), [(5, 1.5), (0, -1), (7, 3), (2, np.nan)]
)
@pytest.mark.parametrize("step", ["fit", "validation", "evaluate"])
def test_a_label_that_is_no_class_is_named(step, row, label):
    net = net_for()
    wrong = Y.astype("float32")
    wrong[row] = label
    with pytest.raises(
        TaskError, match=f"'a': label .* of row {row} .* 0 to 2"
    ):
        if step == "evaluate":
            net.evaluate(X, wrong, verbose=0)
        elif step == "fit":
            net.fit(X, wrong[:, None], verbose=0)
        else:
            net.fit(X, Y, validation_data=(X, wrong), verbose=0)


def test_whole_numbers_of_any_type_are_labels():
    net = net_for()
    for labels in (Y, Y.astype("float32"), Y.tolist(), tf.constant(Y)):
        if not isinstance(labels, list):
            net.fit(X, labels, verbose=0)
    batches = tf.data.Dataset.from_tensor_slices((X, Y.astype("float32")))
    net.fit(batches.batch(4), validation_data=batches.batch(4), verbose=0)


def test_halves_in_a_data_set_end_its_training():
    net = net_for()
    batches = tf.data.Dataset.from_tensor_slices((X, Y + 0.5)).batch(4)
    before = [np.array(v) for v in net.trainable_variables]
    message = "Task a: a label is not the number of a class"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        net.fit(batches, verbose=0)
    for variable, value in zip(net.trainable_variables, before, strict=True):
        assert np.asarray(variable).tobytes() == value.tobytes()
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        net.evaluate(batches, verbose=0)


@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        ("mse", Y[:, None] + [0.5, -1.0, 7.0]),
        ("categorical_crossentropy", np.full((8, 3), 1 / 3)),
        (
            keras.losses.SparseCategoricalCrossentropy(ignore_class=-1),
            np.where(Y == 2, -1, Y),
        ),
    ],
)
def test_labels_of_other_kinds_are_left_alone(loss, labels):
    net = net_for(loss)
    net.fit(X, labels, verbose=0)
