"""Threads and callbacks: whose turn it is."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import blob_nets as nets
from support.blob_nets import A_LABELS, B_LABELS, A, B, scores

from packnet_tf.errors import PhaseError


def in_threads(*functions):
    """Runs functions at once; returns what went wrong in them."""
    errors = []

    def run(function):
        try:
            function()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(f,)) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.fixture(scope="module")
def net():
    return nets.two_tasks()


@pytest.fixture(scope="module")
def expected(net):
    return {name: x.tobytes() for name, x in nets.answers(net).items()}


@pytest.mark.parametrize("fresh", [False, True])
def test_switching_threads_are_right_or_told_so(net, expected, fresh, tmp_path):
    if fresh:
        net.save(tmp_path / "n.keras")
        net = keras.saving.load_model(tmp_path / "n.keras")
    wrong = []

    def ask(seed):
        random = np.random.default_rng(seed)
        for _ in range(8):
            name, x = (("a", A), ("b", B))[random.integers(2)]
            try:
                net.activate(name)
                if scores(net, x) != expected[name]:
                    wrong.append(name)
            except PhaseError as error:
                assert "as_model" in str(error)

    assert not in_threads(*(lambda n=n: ask(n) for n in range(4)))
    assert not wrong
    for name, x in (("a", A), ("b", B)):
        net.activate(name)
        assert scores(net, x) == expected[name]
    net.verify_digests()


def test_threads_share_the_active_task(net, expected, tmp_path):
    net.save(tmp_path / "n.keras")
    fresh = keras.saving.load_model(tmp_path / "n.keras")
    found = []
    ask = lambda: found.append(scores(fresh, B))  # noqa: E731
    assert not in_threads(ask, ask, ask)
    assert found == [expected["b"]] * 3


def test_a_thread_is_told_that_another_one_chose_since(net, expected):
    net.activate("a")
    assert not in_threads(lambda: net.activate("b"))
    with pytest.raises(PhaseError, match="activated task 'a'.*activated 'b'"):
        scores(net)
    with pytest.raises(PhaseError, match="as_model"):
        net(A)
    net.activate("a")
    assert scores(net, A) == expected["a"]


def test_no_thread_changes_what_another_one_is_inside_of():
    net = nets.new_net()
    nets.pack(net, "a", A, A_LABELS)
    nets.pack(net, "b", A, A_LABELS)
    nets.begin(net, "c")
    steps = [
        lambda: net.activate("a"),
        lambda: net.prune(0.5),
        lambda: net.pack(),
        lambda: net.remove_task("c"),
        lambda: net.evaluate(B, B_LABELS, verbose=0),
    ]
    errors = []

    class Meanwhile(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch < len(steps):
                errors.append(in_threads(steps[batch]))

    net.fit(A, A_LABELS, verbose=0, callbacks=[Meanwhile()])
    for (error,) in errors:
        assert isinstance(error, PhaseError) and "fit()" in str(error)
    assert len(errors) == len(steps)
    net.verify_digests()


HOOKS = [
    "on_train_batch_end",
    "on_epoch_begin",
    "on_epoch_end",
    "on_test_begin",
    "on_test_batch_end",
    "on_test_end",
]


@pytest.fixture(scope="module")
def old_and_new():
    net = nets.new_net()
    nets.pack(net, "old", A, A_LABELS)
    nets.begin(net, "new", B, B_LABELS)
    return net


@pytest.mark.parametrize("hook", HOOKS)
def test_a_task_left_active_by_a_callback_is_named(old_and_new, hook):
    net = old_and_new
    leave = {hook: lambda self, *args, **kw: self.model.activate("old")}
    callback = type("Leave", (keras.callbacks.Callback,), leave)()
    with pytest.raises(PhaseError, match="'new', but a callback left 'old'"):
        net.fit(
            B,
            B_LABELS,
            epochs=2,
            validation_data=(B, B_LABELS),
            verbose=0,
            callbacks=[callback],
        )
    net.activate("new")
    net.fit(B, B_LABELS, verbose=0)


def test_a_callback_evaluates_an_older_task_and_switches_back():
    net = nets.new_net()
    nets.pack(net, "old", A, A_LABELS)
    figures, answer = net.evaluate(A, A_LABELS, verbose=0), scores(net)
    seen = []

    class Older(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.activate("old")
            seen.append(self.model.evaluate(A, A_LABELS, verbose=0))
            assert scores(self.model) == answer
            self.model.activate("new")

        def on_train_batch_end(self, batch, logs=None):
            tf.function(lambda x: self.model(x))(A)
            self.model.activate("old")
            self.model.predict(A, verbose=0)
            self.model.activate("new")

    def trained(callbacks):
        net.add_task("new", 3, seed=1)
        net.compile(
            "sgd", "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        history = net.fit(
            B,
            B_LABELS,
            epochs=2,
            shuffle=False,
            validation_data=(B, B_LABELS),
            verbose=0,
            callbacks=callbacks,
        )
        net.pack()
        digest = net.digest_of("new")
        net.remove_task("new")
        return history.history, digest

    assert trained([]) == trained([Older()])
    # Another metric object is the same; the loss compiled last counts.
    assert [row[1] for row in seen] == [figures[1]] * 2
