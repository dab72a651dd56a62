"""Backbones of words: their lookup tables are inside the SavedModel."""

import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import tiny_nets, two_tasks

import packnet_tf as pn
from packnet_tf.errors import NetworkError, PackNetError
from packnet_tf.options.serving import ServingConfig
from packnet_tf.serving.versions import publish
from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir
from packnet_tf.untrusted.programs import check_programs
from packnet_tf.workflow.verify import verify

layers = keras.layers
TEXTS = ["a good film", "a bad film", "good good", "the worst"]
WORDS = [["a"], ["b"], ["c"], ["none of them"]]
YEARS = [[10], [20], [30], [5]]


def vectorized(shape, **how):
    vectorize = layers.TextVectorization(12, **how)
    vectorize.adapt(TEXTS)
    texts = keras.Input(shape, dtype="string", name="texts")
    return texts, vectorize(texts)


def embedded(words, numbers):
    x = layers.Embedding(14, 6)(numbers)
    x = layers.GlobalAveragePooling1D()(x)
    return keras.Model(words, layers.Dense(8, activation="relu")(x))


def sequences():
    return embedded(*vectorized((), output_sequence_length=5)), TEXTS


def counts():
    texts, x = vectorized((1,), output_mode="tf_idf")
    x = layers.Dense(8, activation="relu")(x)
    return keras.Model(texts, x), [[text] for text in TEXTS]


def strings():
    words = keras.Input((1,), dtype="string")
    return embedded(
        words, layers.StringLookup(vocabulary=["a", "b"])(words)
    ), WORDS


def integers():
    years = keras.Input((1,), dtype="int64")
    return embedded(
        years, layers.IntegerLookup(vocabulary=[10, 20])(years)
    ), YEARS


def words_and_numbers():
    words = keras.Input((1,), dtype="string", name="word")
    numbers = keras.Input((3,), name="numbers")
    lookup = layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")
    x = layers.Concatenate()([lookup(words), numbers])
    x = layers.Dense(8, activation="relu")(x)
    net = keras.Model({"word": words, "numbers": numbers}, x)
    return net, {"word": WORDS, "numbers": np.ones((4, 3), np.float32)}


def packed(make):
    keras.utils.set_random_seed(0)
    backbone, given = make()
    net = pn.PackNet(backbone)
    for name in ("a", "b"):
        tiny_nets.add_packed(net, name)
    inputs = backbone.input if isinstance(given, dict) else backbone.inputs[0]
    x = keras.tree.map_structure_up_to(
        inputs,
        lambda part, value: tf.constant(value, part.dtype),
        inputs,
        given,
    )
    return net, x


@pytest.mark.parametrize(
    "make, layout",
    [
        (sequences, "folded"),
        (sequences, "on_the_fly"),
        (counts, "folded"),
        (strings, "folded"),
        (integers, "folded"),
        (words_and_numbers, "on_the_fly"),
    ],
)
def test_words_are_looked_up_inside_the_saved_model(make, layout, tmp_path):
    net, x = packed(make)
    path = pn.export_saved_model(net, tmp_path / "1", layout=layout)
    # As one that a stranger wrote, it is read again.
    check_programs(path)
    served = tf.saved_model.load(path)
    expected, given = {}, {}
    for task in ("a", "b"):
        net.activate(task)
        spec = keras.tree.map_structure(
            lambda part: tf.TensorSpec([None, *part.shape[1:]], part.dtype), x
        )
        program = tf.function(
            lambda x: net.logits(x, training=False), autograph=False
        ).get_concrete_function(spec)
        expected[task] = program(x).numpy().tobytes()
        signature = served.signatures[task]
        names = sorted(signature.structured_input_signature[1])
        given = dict(zip(names, keras.tree.flatten(x), strict=True))
        found = signature(**given)["logits"].numpy()
        assert found.tobytes() == expected[task]
    fed = {name: value.numpy() for name, value in given.items()}
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        graph = v1.saved_model.loader.load(session, ["serve"], str(path))
        for task, answer in expected.items():
            signature = graph.signature_def[task]
            found = session.run(
                signature.outputs["logits"].name,
                {signature.inputs[name].name: v for name, v in fed.items()},
            )
            assert found.tobytes() == answer


def test_files_and_extracted_tasks_know_the_words(tmp_path):
    net, x = packed(sequences)
    before = {task: two_tasks.scores(net, task, x) for task in ("a", "b")}
    two_tasks.check_files(net, before, x, tmp_path)
    plain = pn.extract(net, "a")
    plain.export(tmp_path / "plain", verbose=False)
    served = tf.saved_model.load(tmp_path / "plain")
    found = served.serve(x).numpy()
    assert np.allclose(found, plain.predict(x, verbose=0))


@pytest.mark.parametrize("make", [sequences, counts, strings])
def test_words_are_kept_in_a_workdir(make, tmp_path):
    net, x = packed(make)
    workdir = Workdir(tmp_path / "w")
    state = states.commit(workdir, net)
    again, _ = states.load(workdir)
    for task in ("a", "b"):
        assert two_tasks.scores(again, task, x) == two_tasks.scores(
            net, task, x
        )
    publish(workdir, state, ServingConfig())
    assert verify(workdir).ok
    with zipfile.ZipFile(state.network_path, "a") as archive:
        archive.writestr("assets/../vocabulary.txt", b"other")
    with pytest.raises(PackNetError, match=r"net\.keras is damaged|digest"):
        states.load(workdir)


def test_a_layer_with_other_state_is_named(tmp_path):
    @keras.saving.register_keras_serializable("test_text")
    class Counting(keras.layers.Layer):
        def build(self, input_shape):
            self.calls = tf.Variable(0.0)

        def call(self, inputs):
            return inputs + self.calls

    inputs = keras.Input((4,))
    x = layers.Dense(3)(Counting(name="counting")(inputs))
    net = pn.PackNet(keras.Model(inputs, x))
    tiny_nets.add_packed(net, "a")
    with pytest.raises(NetworkError, match="layer 'counting'"):
        pn.export_saved_model(net, tmp_path / "1")
