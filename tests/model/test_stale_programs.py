"""Programs made outside the network never mix two tasks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import blob_nets as nets
from support.blob_nets import A_LABELS, B_LABELS, A, B, scores

import packnet_tf as pn


def same(left, right):
    return np.asarray(left).tobytes() == np.asarray(right).tobytes()


@pytest.fixture(scope="module")
def held():
    """A network, its first task's answer, and programs traced for it."""
    net = nets.new_net()
    nets.pack(net, "a", A, A_LABELS)
    expected = net.predict(A, verbose=0)
    features = np.asarray(net.backbone(A))
    programs = {
        "call": tf.function(lambda x: net(x, training=False)),
        "step": tf.function(lambda x: net.predict_step((x,))),
        "xla": tf.function(lambda x: net(x), jit_compile=True),
        "training": tf.function(lambda x: net(x, training=True)),
    }
    answers = {name: f(A).numpy() for name, f in programs.items()}
    mapped = tf.data.Dataset.from_tensors(A).map(net)
    features_of = tf.function(lambda x: net.backbone(x))
    assert np.allclose(features_of(A), features, atol=1e-5)
    features = features_of(A).numpy()
    nets.pack(net, "b", B, B_LABELS)
    return net, expected, programs, answers, mapped, features_of, features


@pytest.mark.parametrize("name", ["call", "step", "xla", "training"])
@pytest.mark.parametrize("active", ["b", "a"])
def test_a_function_answers_for_the_task_it_was_traced_for(held, name, active):
    net, expected, programs, answers, *_ = held
    net.activate(active)
    assert same(programs[name](A), answers[name])
    if name in ("call", "step"):
        assert same(answers[name], expected)
    net.verify_digests()


def test_a_mapped_data_set_answers_for_its_task(held):
    net, expected, _, _, mapped, *_ = held
    net.activate("b")
    assert np.allclose(next(iter(mapped)), expected, atol=1e-6)


def test_a_function_of_the_layers_keeps_its_task(held):
    net, *_, features_of, features = held
    net.activate("b")
    assert same(features_of(A), features)
    assert not np.allclose(net.backbone(A), features, atol=1e-3)


def around(net):
    inputs = keras.Input((16,))
    return keras.Model(inputs, net(inputs))


MODELS = {
    "model": around,
    "sequential": lambda net: keras.Sequential([keras.Input((16,)), net]),
    "features": lambda net: keras.Model(
        net.backbone.inputs, net.backbone.layers[-1].output
    ),
    "backbone": lambda net: net.backbone,
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_keras_model_over_the_network_follows_the_active_task(held, make):
    net = held[0]
    model = make(net)
    below = model.output_shape[-1] == 32
    for name in ("a", "b", "a"):
        net.activate(name)
        expected = net.backbone(A) if below else net.predict(A, verbose=0)
        assert np.allclose(model.predict(A, verbose=0), expected, atol=1e-5)
        assert np.allclose(model(A), expected, atol=1e-5)


def test_a_network_is_asked_at_each_step_of_time(held):
    net, *_ = held
    steps = np.stack([A, A[::-1]], axis=1)
    one, two = keras.Input((2, 16)), keras.Input((None, 16))
    for given in (one, two):
        asked = keras.Model(given, keras.layers.TimeDistributed(net)(given))
        assert asked.output.shape == (None, given.shape[1], 3)
        for task in ("a", "b"):
            net.activate(task)
            found = asked.predict(steps, verbose=0)
            assert found.shape == (len(A), 2, 3)
            wanted = net.predict(A, verbose=0)
            assert np.allclose(found[:, 0], wanted, atol=1e-5)
            assert np.allclose(found[::-1, 1], wanted, atol=1e-5)


def test_a_program_of_a_task_in_training_goes_on_answering_for_it():
    net = nets.two_tasks()
    nets.begin(net, "c", A, A_LABELS)
    call = tf.function(lambda x: net(x, training=False))
    call(A)
    net.prune(0.5)
    net.fit(A, A_LABELS, verbose=0)
    assert same(call(A), net.predict(A, verbose=0))
    net.pack()
    expected = net.predict(A, verbose=0)
    assert same(call(A), expected)
    nets.begin(net, "d", B, B_LABELS)
    assert same(call(A), expected)
    net.activate("a")
    assert same(call(A), expected)


def test_a_training_program_refuses_to_run_for_another_task():
    net = nets.two_tasks()
    nets.begin(net, "c", A, A_LABELS)
    step = tf.function(lambda x: net(x, training=True))
    compiled = tf.function(lambda x: net(x, training=True), jit_compile=True)
    for program in (step, compiled):
        assert np.all(np.isfinite(program(A)))
    net.activate("a")
    net.activate("c")
    net.prune(0.5)
    step(A)
    net.fit(A, A_LABELS, verbose=0)
    net.pack()
    with pytest.raises(tf.errors.InvalidArgumentError, match="was in training"):
        step(A)
    nets.begin(net, "d", B, B_LABELS)
    with pytest.raises(tf.errors.InvalidArgumentError, match="was in training"):
        step(A)
    # XLA drops assertions.
    assert np.all(np.isnan(compiled(A)))


def test_a_program_of_a_removed_task_gives_nan():
    net = nets.two_tasks()
    call = tf.function(lambda x: net(x))
    call(B)
    net.remove_task("b")
    assert np.all(np.isnan(call(B)))
    nets.pack(net, "new", A, A_LABELS)
    assert np.all(np.isnan(call(B)))
    net.verify_digests()


def test_a_packed_tasks_statistics_do_not_move_in_a_forward_pass():
    net = nets.two_tasks()
    before = scores(net, B)
    net(A, training=True)
    tf.function(lambda x: net(x, training=True))(A)
    net.verify_digests()
    assert scores(net, B) == before


def test_a_loaded_network_keeps_programs_apart(tmp_path):
    made = nets.two_tasks()
    expected = {}
    for name in ("a", "b"):
        made.activate(name)
        expected[name] = scores(made)
    made.save(tmp_path / "n.keras")
    net = keras.saving.load_model(tmp_path / "n.keras")
    calls = {}
    for name in ("a", "b"):
        net.activate(name)
        calls[name] = tf.function(lambda x: net(x, training=False))
        calls[name](A)
    for name in ("b", "a", "b"):
        assert calls[name](A).numpy().tobytes() == expected[name]
    assert isinstance(net, pn.PackNet)
