"""What packed tasks compute is compared with what they computed when packed."""

import json
import zipfile

import keras
import numpy as np
import pytest
from support import families, plain_nets
from support.promise_nets import NETWORKS

from packnet_tf.errors import PromiseError
from packnet_tf.model.architecture import differences, form_of
from packnet_tf.model.packnet import PackNet
from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir

layers = keras.layers
ROWS = np.random.default_rng(3).normal(size=(8, 16)).astype("float32")


@keras.saving.register_keras_serializable("test_architecture")
class Block(layers.Layer):
    """Has layers that its own config does not tell of."""

    def build(self, shape):
        self.first = layers.Dense(4, activation="relu")
        self.rest = keras.Sequential([layers.Dense(3), layers.ELU(0.5)])
        self.first.build(shape)
        self.rest.build((None, 4))

    def call(self, inputs):
        return self.rest(self.first(inputs))


@keras.saving.register_keras_serializable("test_architecture")
def doubled(x, factor=2.0):
    return x * factor


def backbone():
    return keras.Sequential(
        [
            keras.Input((16,)),
            layers.Rescaling(2.0, name="scale"),
            layers.Dense(8, name="dense"),
            layers.BatchNormalization(name="norm"),
            layers.Activation("tanh", name="act"),
            layers.Dropout(0.1, name="drop"),
            Block(name="block"),
            layers.Lambda(doubled, arguments={"factor": 3.0}, name="double"),
        ]
    )


def packed(*names, net=None):
    net = PackNet(backbone()) if net is None else net
    for name in names:
        net.add_task(name, 3)
        net.compile("sgd", "sparse_categorical_crossentropy")
        net.fit(ROWS, np.arange(8) % 3, verbose=0)
        net.prune(0.5)
        net.fit(ROWS, np.arange(8) % 3, verbose=0)
        net.pack()
    return net


def edited(path, old, new):
    """Replaces a text in the config of a file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert members["config.json"].count(old) == 1
    members["config.json"] = members["config.json"].replace(old, new)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


CHANGES = {
    "layer 'scale' has scale=3.0, it had 2.0": lambda net: setattr(
        net.backbone.get_layer("scale"), "scale", 3.0
    ),
    "layer 'norm' has epsilon=0.5, it had 0.001": lambda net: setattr(
        net.backbone.get_layer("norm"), "epsilon", 0.5
    ),
    "layer 'act' has activation='relu', it had 'tanh'": lambda net: setattr(
        net.backbone.get_layer("act"), "activation", keras.activations.relu
    ),
    "has activation='gelu', it had 'relu'": lambda net: setattr(
        net.backbone.get_layer("block").first,
        "activation",
        keras.activations.gelu,
    ),
    "layer 'double' has arguments.factor=2.0, it had 3.0": lambda net: (
        net.backbone.get_layer("double").arguments.update({"factor": 2.0})
    ),
    "layer 'head_1' has activation='tanh', it had 'linear'": lambda net: (
        setattr(net.head_of("a"), "activation", keras.activations.tanh)
    ),
    "layer 'head_1' has activation='linear', it had 'softmax'": lambda net: (
        setattr(net.task("a"), "activation", "linear")
    ),
}


@pytest.mark.parametrize("message", CHANGES)
def test_a_setting_changed_by_hand_is_named_wherever_tasks_are_proven(
    message, tmp_path
):
    net = packed("a")
    net.add_task("b", 3)
    CHANGES[message](net)
    net.fit(ROWS, np.arange(8) % 3, verbose=0)
    for step in (
        net.pack,
        net.verify_digests,
        lambda: net.save(tmp_path / "n.keras"),
        lambda: net.save_weights(tmp_path / "n.weights.h5"),
    ):
        with pytest.raises(PromiseError, match=r"task\(s\) a would") as raised:
            step()
        assert message in str(raised.value)
        assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_settings_of_training_alone_may_change():
    net = packed("a")
    net.backbone.get_layer("drop").rate = 0.4
    net.backbone.get_layer("norm").momentum = 0.5
    net.backbone.get_layer("dense").kernel_regularizer = keras.regularizers.L2()
    net.backbone.get_layer("act").trainable = False
    packed("b", net=net).verify_digests()


def graph(merge, order=(0, 1), factor=2.0):
    given = keras.Input((4,))
    one, two = layers.Dense(3)(given), layers.Dense(3)(given)
    first, second = ((one, two)[place] for place in order)
    return keras.Model(given, merge(first * factor, second))


@pytest.mark.parametrize(
    "other",
    [
        lambda: graph(keras.ops.add),
        lambda: graph(keras.ops.subtract, (0, 0)),
        lambda: graph(keras.ops.subtract, factor=3.0),
    ],
)
def test_what_connects_layers_is_compared(other):
    then = form_of(graph(keras.ops.subtract))
    assert list(differences(then, form_of(graph(keras.ops.subtract)))) == []
    assert [line for line in differences(then, form_of(other()))]


def test_arguments_that_are_left_out_are_compared():
    one, two = (
        form_of(layers.Lambda(doubled, arguments=given))
        for given in ({"factor": 3.0}, {})
    )
    assert [line for line in differences(one, two)]


def test_code_of_a_lambda_is_compared():
    one, same, other = (
        form_of(layers.Lambda(function))
        for function in (lambda x: x + 1, lambda x: x + 1, lambda x: x + 2)
    )
    assert list(differences(one, same)) == []
    assert [line for line in differences(one, other)]


@pytest.mark.parametrize("head", [False, True])
def test_a_setting_edited_in_a_file_is_named_as_it_is_loaded(head, tmp_path):
    net = PackNet(backbone())
    net.add_task("a", 3, head=layers.Dense(3, activation="elu"))
    net.compile("sgd", "mse")
    net.fit(ROWS, np.zeros((8, 3)), verbose=0)
    net.pack()
    file = tmp_path / "n.keras"
    net.save(file)
    assert keras.saving.load_model(file).tasks == net.tasks
    # A head is told of in the tasks' records as well.
    old, new = ("elu", "selu") if head else ("tanh", "relu")
    text = f'"activation": "{old}"'.encode()
    edited(file, text, text.replace(old.encode(), new.encode()))
    with pytest.raises(ValueError) as info:
        keras.saving.load_model(file)
    # Keras makes one text of all errors; the line is whole in it.
    (line,) = [x for x in str(info.value).splitlines() if "it had" in x]
    assert line.startswith("Packed task(s) a would answer otherwise than when ")
    assert f"activation='{new}', it had '{old}'" in line
    assert line.endswith("Set it back, or load the last packed state.")


def test_weights_are_not_loaded_into_another_architecture(tmp_path):
    net = packed("a")
    net.save_weights(tmp_path / "n.weights.h5")
    other = PackNet(backbone())
    other.add_task("a", 3)
    other.backbone.get_layer("norm").epsilon = 0.5
    with pytest.raises(PromiseError, match="'norm' has epsilon=0.5"):
        other.load_weights(tmp_path / "n.weights.h5")
    assert not other.task("a").packed
    other.backbone.get_layer("norm").epsilon = 0.001
    other.load_weights(tmp_path / "n.weights.h5")
    other.verify_digests()


def test_a_removed_tasks_head_is_forgotten():
    net = packed("a", "b")
    net.remove_task("b")
    net.add_task("b", 3, head=layers.Dense(3, activation="elu"))
    net.compile("sgd", "mse")
    net.fit(ROWS, np.zeros((8, 3)), verbose=0)
    net.pack()
    net.verify_digests()


@pytest.fixture
def without_record(tmp_path, monkeypatch):
    """A workdir of task `a`, as versions without the record wrote it."""
    workdir = Workdir(tmp_path / "w")
    workdir.path.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("packnet_tf.model.files.SEALED", "of_no_version")
        states.commit(workdir, packed("a"), probe_images=ROWS)
    return workdir


def test_a_state_without_the_record_is_read_and_sealed_by_the_next(
    without_record,
):
    workdir = without_record
    net, _ = states.load(workdir)
    net.book.sealed.take_over(None)
    states.commit(workdir, packed("b", net=net), probe_images=ROWS)
    net, _ = states.load(workdir)
    assert net.book.sealed.is_certain(net.tasks)


def test_earlier_answers_are_asked_for_where_there_was_no_record(
    without_record,
):
    workdir = without_record
    file = workdir.newest().network_path
    with zipfile.ZipFile(file) as archive:
        assert b"tanh" in archive.read("config.json")
    net = keras.saving.load_model(file)
    net.backbone.get_layer("norm").epsilon = 0.5
    packed("b", net=net)
    with pytest.raises(PromiseError, match=r"task\(s\) a \(probe, largest"):
        states.commit(workdir, net, probe_images=ROWS)
    assert [state.name for state in workdir.states()] == ["a"]


def nets():
    for case in families.FAMILIES:
        yield case, lambda case=case: families.model_of(families.FAMILIES[case])
    yield from NETWORKS.items()
    yield "functional", plain_nets.functional
    yield "sequential", plain_nets.sequential
    yield "own", backbone


@pytest.mark.parametrize(("name", "make"), nets(), ids=[n for n, _ in nets()])
def test_the_record_is_the_same_after_a_load(name, make, tmp_path):
    net = PackNet(make())
    net.save(tmp_path / "n.keras")
    then = json.loads(json.dumps(form_of(net.backbone)))
    for _ in range(2):
        net = keras.saving.load_model(tmp_path / "n.keras")
        assert list(differences(then, form_of(net.backbone))) == []
        net.save(tmp_path / "n.keras")
