"""A head fitted to features that are not trained."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import blob_nets
from support.blob_nets import A_LABELS, B_LABELS, A, B

import packnet_tf as pn
from packnet_tf.model import linear_probe


def batches(x, y, size=32):
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(size)


def variables(net):
    return {v.path: np.asarray(v).tobytes() for v in net.variables}


def accuracy(net, x, y):
    return np.mean(net.predict(x, verbose=0).argmax(-1) == y)


def test_only_the_head_changes_and_it_answers_right():
    net = blob_nets.new_net()
    blob_nets.pack(net, "a", A, A_LABELS)
    packed = blob_nets.scores(net)
    blob_nets.begin(net, "b")
    before = variables(net)
    assert accuracy(net, B, B_LABELS) < 0.8
    net.fit_head(batches(B, B_LABELS))
    assert accuracy(net, B, B_LABELS) > 0.95
    head = {v.path for v in net.head_of("b").variables}
    after = variables(net)
    assert {path for path in before if before[path] != after[path]} == head
    net.activate("a")
    assert blob_nets.scores(net) == packed
    net.verify_digests()


def test_the_same_examples_give_the_same_bytes():
    found = set()
    for _ in range(2):
        net = blob_nets.new_net()
        net.add_task("a", 3)
        net.fit_head(batches(A, A_LABELS))
        found.add(net.head_of("a").kernel.numpy().tobytes())
    assert len(found) == 1


def test_it_is_a_softmax_regression():
    """No step from the solution lowers what is minimized."""
    features = A + 100 * np.arange(16, dtype="float32")
    kernel, bias = linear_probe.solve(features, A_LABELS, 3)
    spread = features.std(0)

    def objective(kernel, bias):
        logits = features @ kernel + bias
        loss = keras.losses.sparse_categorical_crossentropy(
            A_LABELS, logits, from_logits=True
        )
        weights = kernel * spread[:, None]
        return np.mean(loss) + 1e-3 * np.sum(np.square(weights))

    least = objective(kernel, bias)
    random = np.random.default_rng(0)
    for _ in range(20):
        step = 0.1 * random.normal(size=kernel.shape) / spread[:, None]
        away = bias - features.mean(0) @ step
        assert objective(kernel + step, away) > least


def test_what_has_no_spread_is_not_blown_up():
    features = np.concatenate([A, np.full((len(A), 1), 7, "float32")], 1)
    kernel, bias = linear_probe.solve(features, A_LABELS, 3)
    assert np.abs(kernel).max() < 10 and np.abs(bias).max() < 10


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ((A[:0], A_LABELS[:0]), "no examples"),
        ((A, A_LABELS + 1), "from 0 to 2"),
        ((A, A_LABELS + 0.5), "from 0 to 2"),
        ((A, keras.utils.to_categorical(A_LABELS)), "from 0 to 2"),
    ],
)
def test_unsuitable_examples(data, what):
    net = blob_nets.new_net()
    net.add_task("a", 3)
    before = variables(net)
    with pytest.raises(pn.DataError, match=what):
        net.fit_head(batches(*data))
    assert variables(net) == before


def test_a_head_of_another_kind():
    net = blob_nets.new_net()
    net.add_task("a", 3, activation="sigmoid")
    with pytest.raises(pn.TaskError, match="softmax"):
        net.fit_head(batches(A, A_LABELS))


def test_a_packed_task():
    net = blob_nets.new_net()
    blob_nets.pack(net, "a", A, A_LABELS)
    with pytest.raises(pn.PhaseError, match="packed"):
        net.fit_head(batches(A, A_LABELS))
