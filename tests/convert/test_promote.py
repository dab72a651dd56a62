"""Layers become their twins in place, and stock layers again."""

import keras
import numpy as np
import pytest
from keras import layers
from support import two_tasks
from support.plain_nets import same

import packnet_tf as pn
from packnet_tf.convert.clone import clone_model, counterparts
from packnet_tf.convert.coverage import coverage
from packnet_tf.convert.mask_model import mask_model
from packnet_tf.convert.promote import demote, promote
from packnet_tf.layers import TWINS, MaskedMultiHeadAttention
from packnet_tf.layers.composite import InnerTwins, MaskedLayers
from packnet_tf.model.replicas import make_strategy
from packnet_tf.tf_internals.layers import layers_of

X = np.random.default_rng(0).uniform(0, 255, (6, 8, 8, 3)).astype("float32")


@keras.saving.register_keras_serializable("test_promote")
class Block(layers.Layer):
    """A user's layer; what it is made of has no names of its own."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.mlp = keras.Sequential(
            [layers.Dense(units), layers.DepthwiseConv1D(2, padding="same")]
        )

    def build(self, shape):
        self.mlp.build(shape)
        self.out = [layers.Dense(shape[-1])]
        self.out[0].build((*shape[:-1], self.units))

    def call(self, x):
        return x + self.out[0](self.mlp(x))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def network():
    """A bit of everything that Keras builds networks of."""
    keras.utils.set_random_seed(0)
    inner = keras.Sequential(
        [
            keras.Input((8, 8, 4)),
            layers.SeparableConv2D(4, 3, padding="same"),
            layers.BatchNormalization(),
        ],
        name="inner",
    )
    inputs = keras.Input((8, 8, 3), name="pixels")
    normalization = layers.Normalization()
    normalization.adapt(X)
    x = layers.Conv2D(4, 1)(normalization(inputs))
    x = inner(layers.ReLU()(inner(x)))
    x = layers.Reshape((64, 4))(x)
    x = layers.MultiHeadAttention(2, 2, dropout=0.1)(x, x)
    x = Block(5, name="block")(x)
    x = layers.TimeDistributed(layers.Dense(3), name="steps")(x)
    x = layers.Dropout(0.1)(x)
    x = layers.LSTM(3)(x)
    return keras.Model(inputs, layers.Dense(4, name="top")(x))


def kernels(model):
    return [
        kernel
        for part in layers_of(model)
        if hasattr(part, "masked_kernels")
        for kernel in part.masked_kernels()
    ]


def kinds(model):
    return [type(part) for part in layers_of(model)]


@pytest.mark.parametrize(
    "depthwise", ["private", pytest.param("masked", marks=pytest.mark.slow)]
)
def test_bytes_files_and_extracted_tasks_are_equal(depthwise, tmp_path):
    model = network()
    twin = mask_model(model, depthwise=depthwise)
    for training in (False, True):
        assert same(twin(X, training=training), model(X, training=training))
    assert len(kernels(twin)) == {"masked": 14, "private": 12}[depthwise]
    assert isinstance(twin.get_layer("block"), MaskedLayers)
    assert [part.name for part in twin.layers] == [p.name for p in model.layers]
    net, packed = two_tasks.pack_two(model, X, depthwise=depthwise)
    for _ in range(2):  # What was read is written again.
        net = two_tasks.check_files(net, packed, X, tmp_path)
        assert (
            str(coverage(net.backbone)).partition(";")[0]
            == (str(coverage(twin)).partition(";")[0])
        )


def test_the_way_there_and_back():
    model = network()
    copy = clone_model(model)
    assert kinds(copy) == kinds(model)
    before = [set(vars(part)) for part in layers_of(copy)]
    promote(copy, (), "masked")
    assert not set(kinds(copy)) & set(TWINS)
    demote(copy)
    assert kinds(copy) == kinds(model)
    assert [set(vars(part)) for part in layers_of(copy)] == before
    assert same(copy(X), model(X))
    for source, target in counterparts(model, copy).values():
        assert type(target) is type(source)
        if isinstance(source, layers.Layer):
            assert len(target.variables) == len(source.variables)
            assert len(target.weights) == len(source.weights)
    promote(copy, (), "masked")
    assert same(copy(X), model(X))


def test_what_a_masked_layer_leaves_plain_stays_plain():
    inputs = keras.Input((5, 4))
    attention = MaskedMultiHeadAttention(2, 3, inside={"key": None})
    x = layers.Dense(4)(attention(inputs, inputs))
    model = keras.Model(inputs, layers.GlobalAveragePooling1D()(x))
    with pytest.raises(pn.ConversionError, match="inside it key"):
        mask_model(model)
    twin = mask_model(model, skip="key")
    assert len(kernels(twin)) == 4
    again = keras.models.clone_model(twin)
    assert len(kernels(again)) == 4


@pytest.mark.slow
def test_what_became_stock_again_is_quantized_as_a_stock_layer_is():
    net = pn.PackNet(network(), depthwise="masked")
    net.add_task("a", 3)
    plain = pn.extract(net, "a")
    plain.quantize("int8")
    projection = next(
        part
        for part in layers_of(plain)
        if type(part) is layers.EinsumDense and part.name == "query"
    )
    dense = plain.get_layer("top")
    assert dense.quantization_mode == projection.quantization_mode == "int8"


def test_flags_of_layers_inside_layers_are_copied():
    model = network()
    model.get_layer("block").out[0].trainable = False
    model.get_layer("inner").layers[1].trainable = False
    twin = mask_model(model)
    assert not twin.get_layer("block").out[0].trainable
    assert twin.get_layer("block").mlp.trainable
    assert not twin.get_layer("inner").layers[1].trainable
    assert len(twin.trainable_variables) == len(model.trainable_variables)


@pytest.mark.slow
def test_on_two_replicas(tmp_path):
    model = network()
    strategy = make_strategy(2)
    with strategy.scope():
        twin = mask_model(model, depthwise="private")
        net = pn.PackNet(model)
    for variable in (*twin.variables, *net.variables):
        assert strategy.extended.variable_created_in_scope(variable.value)
    assert same(twin(X), model(X))
    assert len(kernels(twin)) == len(net.masked_kernels()) == 12
    packed = {}
    for name in ("one", "two"):
        two_tasks.pack(net, name, X, np.arange(6) % 3, retrain=False)
        packed[name] = two_tasks.scores(net, name, X)
    assert two_tasks.scores(net, "one", X) == packed["one"]
    net.save(tmp_path / "net.keras")
    with strategy.scope():
        loaded = keras.saving.load_model(tmp_path / "net.keras")
        plain = pn.extract(loaded, "one")
    loaded.verify_digests()
    assert two_tasks.scores(loaded, "one", X) == packed["one"]
    assert plain.predict(X, verbose=0).tobytes() == packed["one"]
    assert not any(isinstance(part, InnerTwins) for part in layers_of(plain))
    for variable in plain.weights:
        assert strategy.extended.variable_created_in_scope(variable.value)
