"""`as_model`: one packed task, fixed, with the network's own weights."""

import copy
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import blob_nets as nets
from support.blob_nets import A_LABELS, A, B, scores

import packnet_tf as pn
from packnet_tf.errors import NetworkError, PhaseError, TaskError


@pytest.fixture(scope="module")
def net():
    return nets.two_tasks()


@pytest.fixture(scope="module")
def expected(net):
    return nets.answers(net)


def test_it_answers_for_its_task_whichever_is_active(net, expected):
    model = net.as_model("a")
    inputs = keras.Input((16,))
    around = keras.Model(inputs, model(inputs))
    program = tf.function(model)
    for name in ("b", "a", "b"):
        net.activate(name)
        eager = np.asarray(model(A))
        assert scores(model) == expected["a"].tobytes()
        assert scores(around) == expected["a"].tobytes()
        assert program(A).numpy().tobytes() == expected["a"].tobytes()
        assert np.allclose(eager, expected["a"], atol=1e-6)
    assert net.active_task.name == "b"


def test_it_shares_the_kernels_and_trains_nothing(net):
    model = net.as_model("a")
    kernel = net.masked_kernels()[0].variable
    assert any(v.value is kernel.value for v in model.weights)
    assert not model.trainable_variables
    inputs = keras.Input((16,))
    more = keras.Model(inputs, keras.layers.Dense(2)(model(inputs)))
    assert len(more.trainable_variables) == 2
    more.compile("adam", "mse")
    more.fit(A, np.zeros((len(A), 2)), verbose=0)
    net.verify_digests()
    assert kernel.trainable


def test_it_is_evaluated_as_any_model(net):
    model = net.as_model("a")
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    _, accuracy = model.evaluate(A, A_LABELS, verbose=0)
    net.activate("a")
    assert accuracy == net.evaluate(A, A_LABELS, verbose=0)[1] > 0.8


def test_it_is_exported(net, expected, tmp_path):
    model = net.as_model("a")
    model.export(tmp_path / "one", verbose=False)
    inputs = keras.Input((16,))
    keras.Model(inputs, model(inputs)).export(tmp_path / "two", verbose=False)
    for name in ("one", "two"):
        served = tf.saved_model.load(str(tmp_path / name))
        assert np.allclose(served.serve(A), expected["a"], atol=1e-6)


@pytest.mark.parametrize(
    "keep",
    [
        lambda model, folder: model.save(folder / "m.keras"),
        lambda model, folder: model.save_weights(folder / "m.weights.h5"),
        lambda model, folder: copy.deepcopy(model),
        lambda model, folder: keras.models.clone_model(model),
    ],
)
def test_it_is_not_saved_or_copied(net, keep, tmp_path):
    with pytest.raises(NetworkError, match="extract"):
        keep(net.as_model("a"), tmp_path)


def test_it_answers_in_threads_while_another_task_is_trained(tmp_path):
    made = nets.two_tasks()
    expected = scores(made, B)
    made.activate("a")
    expected = {"a": scores(made, A), "b": expected}
    made.save(tmp_path / "n.keras")
    net = keras.saving.load_model(tmp_path / "n.keras")
    models = {name: net.as_model(name) for name in ("a", "b")}
    wrong = []

    def ask(seed):
        random = np.random.default_rng(seed)
        for _ in range(6):
            name, x = (("a", A), ("b", B))[random.integers(2)]
            if scores(models[name], x) != expected[name]:
                wrong.append(name)
            models[name](x)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    nets.begin(net, "c", A, A_LABELS)
    for thread in threads:
        thread.join()
    assert not wrong
    net.verify_digests()


def test_removed_tasks_are_named_and_renamed_ones_go_on():
    net = nets.two_tasks()
    model = net.as_model("b")
    program = tf.function(model)
    before = scores(model, B)
    program(B)
    net.rename_task("b", "other")
    assert scores(model, B) == before
    net.remove_task("other")
    with pytest.raises(TaskError, match="removed"):
        model(B)
    with pytest.raises(TaskError, match="removed"):
        model.predict(B, verbose=0)
    assert np.all(np.isnan(program(B)))


def test_a_task_in_training_is_refused():
    net = nets.new_net()
    nets.begin(net, "a", A, A_LABELS)
    with pytest.raises(PhaseError, match=r"as_model\('a'\)"):
        net.as_model("a")
    with pytest.raises(TaskError, match="Unknown task 'c'"):
        net.as_model("c")


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = pn.layers.MaskedDense(8, activation="relu")

    def call(self, inputs):
        return self.inner(inputs)


def two_inputs():
    inputs = {"x": keras.Input((16,)), "z": keras.Input((16,))}
    joined = keras.layers.Concatenate()([inputs["x"], inputs["z"]])
    return keras.Model(inputs, keras.layers.Dense(8)(joined))


def subclassed():
    model = Subclassed()
    model(A)
    return model


@pytest.mark.parametrize(
    "backbone, x", [(subclassed, A), (two_inputs, {"x": A, "z": A})]
)
def test_any_backbone_has_task_models(backbone, x):
    net = pn.PackNet(backbone())
    nets.pack(net, "a", x, A_LABELS)
    expected = scores(net, x)
    model = net.as_model("a")
    assert scores(model, x) == expected
    nets.begin(net, "b", x, A_LABELS)
    assert scores(model, x) == expected
