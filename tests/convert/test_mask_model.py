import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from packnet_tf.convert.coverage import Coverage, coverage
from packnet_tf.convert.mask_model import mask_model
from packnet_tf.errors import ConversionError, TaskError
from packnet_tf.layers import TWINS, Masked, MaskedConv2D, MaskedDense
from packnet_tf.model.extract import extract
from packnet_tf.model.packnet import PackNet
from packnet_tf.model.replicas import make_strategy
from packnet_tf.tf_internals import is_graph


def images(count=2, size=8, seed=0):
    random = np.random.default_rng(seed)
    return random.uniform(0, 255, (count, size, size, 3)).astype(np.float32)


def same(left, right):
    left, right = np.asarray(left), np.asarray(right)
    return left.dtype == right.dtype and left.tobytes() == right.tobytes()


def fill(model, seed=1):
    """Gives every float weight its own value, statistics included."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.dtype in ("float32", "bfloat16", "float16"):
            value = random.uniform(0.1, 0.9, tuple(variable.shape)) - 0.3
            if variable.name.endswith("variance"):
                value = np.abs(value) + 0.1
            variable.assign(value)
    return model


def names_of(model):
    return [
        (layer.name, names_of(layer) if is_graph(layer) else None)
        for layer in model.layers
    ]


def check(model, x, **kwargs):
    """Masks a model; the outputs keep their bytes, the layers their names."""
    twin = mask_model(model, **kwargs)
    for training in (False, True):
        before = tf.nest.flatten(model(x))
        assert all(map(same, before, tf.nest.flatten(twin(x)))), training
    assert names_of(twin) == names_of(model)
    assert not any(
        type(layer) in TWINS for layer in twin._flatten_layers()
    ) or kwargs.get("skip")
    return twin


def sequential():
    return fill(
        keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                layers.Rescaling(1 / 127.5, -1),
                layers.Conv2D(4, 3, name="conv"),
                layers.BatchNormalization(),
                layers.ReLU(),
                layers.DepthwiseConv2D(3, name="depthwise"),
                layers.Flatten(),
                layers.Dropout(0.5, seed=3),
                layers.Dense(5, activation="tanh", name="fc"),
            ],
            name="small",
        )
    )


def functional():
    inputs = keras.Input((8, 8, 3), name="pixels")
    x = inputs / 255.0 - np.float32([0.1, 0.2, 0.3])
    a = layers.Conv2D(4, 3, padding="same", name="a")(x)
    b = layers.Conv2D(4, 1, name="b")(x)
    x = layers.Add()([a, keras.ops.relu(b)])
    x = x[:, 1:, 1:, :]
    x = layers.GlobalAveragePooling2D()(x)
    return fill(keras.Model(inputs, layers.Dense(3)(x), name="graph"))


def test_sequential():
    twin = check(sequential(), images())
    assert twin.name == "small"
    assert isinstance(twin, keras.Sequential)
    assert all(
        not np.asarray(layer.mask).any()
        for layer in twin.layers
        if isinstance(layer, Masked)
    )


def test_functional_with_operations():
    twin = check(functional(), images())
    assert twin.input.name == "pixels" or twin.layers[0].name == "pixels"
    assert isinstance(twin.get_layer("a"), MaskedConv2D)


def test_saved_twin_loads(tmp_path):
    for model in (sequential(), functional()):
        twin = mask_model(model)
        twin.save(tmp_path / "twin.keras")
        loaded = keras.saving.load_model(tmp_path / "twin.keras")
        assert same(loaded(images()), model(images()))


def test_the_model_itself_is_left_alone():
    model = sequential()
    model.compile("sgd", "mse")
    before = [np.asarray(v) for v in model.variables]
    twin = mask_model(model)
    for variable in twin.weights:
        variable.assign(np.ones(variable.shape))
    assert all(map(same, before, [np.asarray(v) for v in model.variables]))
    assert model.compiled and not twin.compiled
    assert not any(isinstance(p, Masked) for p in model._flatten_layers())


def test_nested_models():
    inner = sequential()
    deeper = keras.Sequential([inner, layers.Dense(4)], name="deeper")
    deeper.build((None, 8, 8, 3))
    inputs = keras.Input((8, 8, 3))
    outputs = layers.Concatenate()([deeper(inputs), functional()(inputs)])
    model = fill(keras.Model(inputs, layers.Dense(2)(outputs)))
    twin = check(model, images())
    assert coverage(twin).layers_masked == 8


def test_shared_layers_and_models_stay_shared():
    shared = layers.Dense(4, name="shared")
    tower = keras.Sequential([keras.Input((4,)), shared, layers.Dense(4)])
    left, right = keras.Input((4,), name="l"), keras.Input((4,), name="r")
    outputs = layers.Subtract()([tower(left), tower(shared(right))])
    model = fill(keras.Model({"l": left, "r": right}, outputs))
    x = {name: np.random.rand(2, 4).astype(np.float32) for name in "lr"}
    twin = check(model, x)
    assert coverage(twin).layers_masked == 2
    assert coverage(twin).weights_masked == 32


def test_wrappers_and_models_inside_them():
    cell = keras.Sequential(
        [keras.Input((8, 3)), layers.Flatten(), layers.Dense(4, name="in")],
        name="cell",
    )
    model = fill(
        keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                layers.TimeDistributed(cell),
                layers.TimeDistributed(layers.Dense(3, name="td")),
            ]
        )
    )
    twin = check(model, images())
    assert isinstance(twin.layers[1].layer, MaskedDense)
    assert coverage(twin).layers_masked == 2


def test_wrapped_twin_saves(tmp_path):
    model = fill(
        keras.Sequential(
            [keras.Input((5, 4)), layers.TimeDistributed(layers.Dense(3))]
        )
    )
    twin = mask_model(model)
    twin.save(tmp_path / "twin.keras")
    loaded = keras.saving.load_model(tmp_path / "twin.keras")
    assert isinstance(loaded.layers[0].layer, MaskedDense)
    x = np.random.rand(2, 5, 4).astype(np.float32)
    assert same(loaded(x), model(x))


def test_adapted_preprocessing():
    normalization = layers.Normalization()
    normalization.adapt(images(8))
    inputs = keras.Input((8, 8, 3))
    x = layers.Rescaling(2.0)(normalization(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    check(model, images())


def test_text_with_an_adapted_vocabulary():
    vectorization = layers.TextVectorization(output_sequence_length=4)
    vectorization.adapt(["the cat sat", "the dog ran"])
    inputs = keras.Input((), dtype="string")
    x = layers.Embedding(9, 3, name="words")(vectorization(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    x = tf.constant(["the cat ran", "a dog"])
    check(model, x)
    check(model, x, skip="words")


def test_random_layers_go_on_with_the_same_numbers():
    model = keras.Sequential(
        [keras.Input((50,)), layers.Dropout(0.5), layers.GaussianNoise(1.0)]
    )
    x = np.ones((2, 50), np.float32)
    model(x, training=True)
    inputs = keras.Input((50,))
    outer = keras.Model(inputs, layers.Dense(2)(model(inputs)))
    twin = mask_model(outer)
    assert same(model(x, training=True), twin.layers[1](x, training=True))


def test_lambda_keeps_its_function():
    offset = tf.constant(2.0)
    inputs = keras.Input((4,))
    x = layers.Lambda(lambda t: t * offset, name="scale")(inputs)
    check(keras.Model(inputs, layers.Dense(2)(x)), np.ones((1, 4), "float32"))


def test_frozen_layers_stay_frozen():
    model = sequential()
    model.get_layer("conv").trainable = False
    twin = mask_model(model)
    assert not twin.get_layer("conv").trainable
    assert twin.get_layer("fc").trainable
    model.trainable = False
    assert mask_model(model).trainable_variables == []


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(policy):
    keras.mixed_precision.set_global_policy(policy)
    try:
        model = sequential()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    twin = check(model, images())
    assert twin.get_layer("fc").compute_dtype == policy.removeprefix("mixed_")


def test_under_a_strategy():
    strategy = make_strategy(2)
    model = sequential()
    with strategy.scope():
        twin = mask_model(model)
        again = mask_model(twin)
        moved = mask_model(mask_model(model))
    assert again is twin
    for variable in (*twin.weights, *moved.weights):
        assert strategy.extended.variable_created_in_scope(variable.value)
    assert same(twin(images()), model(images()))
    plain_again = mask_model(twin)
    assert plain_again is not twin
    assert same(plain_again(images()), model(images()))


@pytest.mark.parametrize(
    "skip",
    [
        "depthwise",
        layers.DepthwiseConv2D,
        lambda layer: layer.name.startswith("depth"),
        ["depthwise"],
        (layers.DepthwiseConv2D, layers.Embedding),
    ],
)
def test_skip(skip):
    twin = check(sequential(), images(), skip=skip)
    assert type(twin.get_layer("depthwise")) is layers.DepthwiseConv2D
    assert isinstance(twin.get_layer("fc"), MaskedDense)
    assert coverage(twin).skipped == ("depthwise",)


def test_skip_of_a_nested_model_covers_its_layers():
    inputs = keras.Input((8, 8, 3))
    model = fill(keras.Model(inputs, layers.Dense(2)(sequential()(inputs))))
    twin = check(model, images(), skip="small")
    assert coverage(twin).layers_masked == 1
    assert coverage(twin).skipped == ("conv", "depthwise", "fc")


def test_skip_of_an_unknown_name():
    with pytest.raises(ConversionError, match="did you mean depthwise"):
        mask_model(sequential(), skip="depthwize")


class Mine(layers.Dense):
    """A user's subclass, which may do anything with its kernel."""


class Places(layers.Layer):
    def build(self, input_shape):
        self.table = self.add_weight(shape=(1, *input_shape[1:]))

    def call(self, inputs):
        return inputs + self.table


class Block(layers.Layer):
    """A layer of layers, one of which is nobody's twin."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = Mine(4, name="hidden")
        self.dense = layers.Dense(4)

    def build(self, input_shape):
        self.hidden.build(input_shape)
        self.dense.build(input_shape)

    def call(self, inputs):
        return self.hidden(inputs) + self.dense(inputs)


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (lambda: Mine(3, name="mine"), "'mine' .Mine."),
        (lambda: Places(name="places"), "'places' .Places."),
        (lambda: Block(name="block"), "'block' .Block, inside it hidden."),
        (
            lambda: layers.ReversibleEmbedding(3, 4, name="both_ways"),
            "'both_ways' .ReversibleEmbedding.",
        ),
    ],
)
def test_layers_without_a_twin_are_named(layer, named):
    inputs = keras.Input((5, 4))
    made = layer()
    model = fill(keras.Model(inputs, layers.Dense(2)(made(inputs))))
    with pytest.raises(ConversionError, match=named):
        mask_model(model)
    x = np.random.rand(2, 5, 4).astype(np.float32)
    twin = check(model, x, skip=made.name)
    assert coverage(twin).skipped == (made.name,)


def test_a_layer_in_two_places_is_refused_where_copies_would_be_two():
    shared = layers.Dense(4, name="shared")
    inputs = keras.Input((5, 4))
    x = shared(layers.TimeDistributed(shared, name="steps")(inputs))
    with pytest.raises(ConversionError, match="layer 'shared', and so does"):
        mask_model(keras.Model(inputs, x))


def test_convolutional_memory_is_named():
    inputs = keras.Input((5, 4, 2))
    model = keras.Model(inputs, layers.ConvLSTM1D(3, 2, name="it")(inputs))
    with pytest.raises(ConversionError, match="'it' .ConvLSTM1D, inside it"):
        mask_model(model)


def test_stateful_recurrent_layers_are_refused():
    inputs = keras.Input((5, 4), batch_size=2)
    for make in (
        lambda: layers.LSTM(3, stateful=True),
        lambda: layers.Bidirectional(layers.GRU(3, stateful=True)),
    ):
        model = keras.Model(inputs, layers.Dense(2)(make()(inputs)))
        for skip in ((), lambda layer: isinstance(layer, layers.RNN)):
            with pytest.raises(ConversionError, match="has stateful=True"):
                mask_model(model, skip=skip)


def test_normalization_of_any_rank_is_private():
    inputs = keras.Input((5, 4))
    x = layers.LayerNormalization(axis=[1, 2])(layers.PReLU()(inputs))
    check(
        fill(keras.Model(inputs, layers.Dense(2)(x))),
        np.random.rand(2, 5, 4).astype(np.float32),
    )


def test_spectral_normalization_is_refused():
    inputs = keras.Input((4,))
    wrapped = layers.SpectralNormalization(layers.Dense(3), name="spectral")
    model = keras.Model(inputs, layers.Dense(2)(wrapped(inputs)))
    with pytest.raises(ConversionError, match="'spectral' .Spectral"):
        mask_model(model)


def test_lora_and_quantization_are_refused():
    for change in (
        lambda layer: layer.enable_lora(2),
        lambda layer: layer.quantize("int8"),
    ):
        model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="x")])
        change(model.layers[0])
        with pytest.raises(ConversionError, match="'x' .Dense. has LoRA"):
            mask_model(model)


def test_a_shared_variable_is_refused():
    first, second = layers.Dense(4, name="one"), layers.Dense(4, name="two")
    model = keras.Sequential([keras.Input((4,)), first, second])
    second._untrack_variable(second._kernel)
    second._tracker.unlock()
    second._kernel = first._kernel
    with pytest.raises(ConversionError, match="shares the variable"):
        mask_model(model)


def test_unbuilt_model():
    with pytest.raises(ConversionError, match="is not built"):
        mask_model(keras.Sequential([layers.Dense(3)]))
    with pytest.raises(ConversionError, match="takes a keras.Model"):
        mask_model(layers.Dense(3))


class Subclassed(keras.Model):
    def __init__(self, dense=layers.Dense, **kwargs):
        super().__init__(**kwargs)
        self.fc = dense(3, name="fc")

    def call(self, inputs):
        return self.fc(inputs)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 3)


def test_subclassed_models():
    x = np.ones((2, 4), np.float32)
    plain, masked = Subclassed(), Subclassed(MaskedDense)
    plain(x), masked(x)
    with pytest.raises(ConversionError, match="'fc' .use MaskedDense for"):
        mask_model(plain)
    recurrent = Subclassed(
        lambda units, name: layers.Bidirectional(layers.GRU(units, name=name))
    )
    recurrent(np.ones((2, 4, 5), np.float32))
    with pytest.raises(ConversionError) as caught:
        mask_model(recurrent)
    message = str(caught.value)
    assert "'forward_fc' (use MaskedGRU for GRU)" in message
    assert "GRUCell" not in message and "\n" not in message
    assert mask_model(masked) is masked
    assert coverage(masked) == Coverage(1, 12, 15)


def test_functional_subclass_with_a_call_of_its_own_is_refused():
    class Louder(keras.Model):
        def __init__(self):
            inputs = keras.Input((4,))
            super().__init__(inputs, layers.Dense(2)(inputs))

        def call(self, inputs):
            return 2 * super().call(inputs)

    model = Louder()
    with pytest.raises(ConversionError, match="Louder"):
        mask_model(model)


def test_a_model_in_part_masked():
    inputs = keras.Input((4,))
    first = MaskedDense(3, prunable=False, name="first")
    model = keras.Model(inputs, layers.Dense(2)(first(inputs)))
    first.mask.assign(np.arange(12).reshape(4, 3) % 3)
    twin = check(model, np.ones((1, 4), np.float32))
    assert same(twin.get_layer("first").mask, first.mask)
    assert twin.get_layer("first").prunable is False
    assert mask_model(twin) is twin


def test_coverage():
    report = coverage(mask_model(sequential(), skip="depthwise"))
    assert report == Coverage(2, 428, 493, ("depthwise",))
    assert str(report) == (
        "2 layers masked, 428 of 493 weights (86.8%); not masked: depthwise"
    )
    assert report.weights_total == sequential().count_params()
    assert coverage(sequential()).layers_masked == 0


def packed_net(backbone, x, **kwargs):
    """A network with two packed tasks and one in training."""
    net = PackNet(backbone, **kwargs)
    for name, classes in (("one", 3), ("two", 2)):
        net.add_task(name, classes)
        net.compile("adam", "sparse_categorical_crossentropy")
        labels = np.arange(len(x)) % classes
        net.fit(x, labels, epochs=1, verbose=0)
        net.prune(0.5)
        net.fit(x, labels, epochs=1, verbose=0)
        net.pack()
    net.add_task("three", 2)
    return net


@pytest.mark.parametrize("private", ["per_task", "frozen"])
@pytest.mark.parametrize("make", [sequential, functional])
def test_extract(make, private, tmp_path):
    x = images(4)
    net = packed_net(make(), x, private=private)
    for task in ("one", "two"):
        plain = extract(net, task)
        assert net.active_task.name == "three"
        assert not any(isinstance(p, Masked) for p in plain._flatten_layers())
        modules = {type(p).__module__ for p in plain._flatten_layers()}
        assert all(module.startswith("keras.") for module in modules)
        plain.save(tmp_path / "plain.keras")
        loaded = keras.saving.load_model(tmp_path / "plain.keras")
        net.activate(task)
        assert same(plain(x), net(x))
        assert same(loaded(x), net(x))
        net.activate("three")
    with pytest.raises(TaskError, match="Unknown task"):
        extract(net, "four")


def test_extract_flattens_the_features_as_the_network_does():
    inputs = keras.Input((8, 8, 3))
    backbone = fill(keras.Model(inputs, layers.Conv2D(2, 3)(inputs)))
    x = images(4)
    net = packed_net(backbone, x)
    plain = extract(net, "one")
    net.activate("one")
    assert same(plain(x), net(x))


def test_extract_of_a_subclassed_backbone_is_refused():
    backbone = Subclassed(MaskedDense)
    backbone(np.ones((1, 4), np.float32))
    net = PackNet(backbone)
    net.add_task("one", 2)
    with pytest.raises(ConversionError, match="export_saved_model"):
        extract(net, "one")
