"""Layers that make the layers with their kernels themselves."""

import inspect

import keras
import numpy as np
import pytest
from keras import layers

from packnet_tf.convert.coverage import coverage
from packnet_tf.convert.mask_model import mask_model
from packnet_tf.errors import ConversionError
from packnet_tf.layers import (
    Masked,
    MaskedDense,
    MaskedEinsumDense,
    MaskedGroupedQueryAttention,
    MaskedGRU,
    MaskedLSTMCell,
    MaskedMultiHeadAttention,
)
from packnet_tf.layers.composite import InnerTwins
from packnet_tf.model.extract import extract
from packnet_tf.model.packnet import PackNet

# Keras has them from 3.15 on.
HAS_WINDOWS = (
    "sliding_window" in inspect.signature(layers.MultiHeadAttention).parameters
)


@keras.saving.register_keras_serializable("test_composite")
class Block(layers.Layer):
    """Part of a transformer, as users write it: most is made in `build`."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.norm = layers.LayerNormalization(name="norm")
        self.up = layers.Dense(units, activation="relu", name="up")

    def build(self, input_shape):
        self.attention = layers.MultiHeadAttention(2, 3, name="attention")
        self.attention.build(input_shape, input_shape)
        self.norm.build(input_shape)
        self.up.build(input_shape)
        self.down = [layers.Dense(input_shape[-1], name="down")]
        self.down[0].build((*input_shape[:-1], self.units))

    def call(self, x):
        x = x + self.attention(x, x)
        return x + self.down[0](self.up(self.norm(x)))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Lazy(layers.Layer):
    """Neither `build` nor `get_config`: Keras does both."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.hidden = layers.Dense(units, name="hidden")
        self.rnn = layers.RNN(layers.LSTMCell(2, name="cell"), name="rnn")

    def call(self, x):
        return self.rnn(self.hidden(x))


@keras.saving.register_keras_serializable("test_composite")
class Inner(keras.Model):
    """A subclassed model, to stand inside another."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.block = Block(5, name="block")
        self.out = layers.Dense(3, name="out")

    def build(self, input_shape):
        self.block.build(input_shape)
        self.out.build(input_shape)

    def call(self, x):
        return self.out(self.block(x))


def batch():
    return np.random.default_rng(0).normal(size=(4, 5, 4)).astype(np.float32)


def model_with(layer):
    inputs = keras.Input((5, 4))
    outputs = layers.Flatten()(layer(inputs))
    model = keras.Model(inputs, outputs)
    random = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(random.normal(size=tuple(variable.shape)) * 0.5)
    return model


def same(left, right):
    return np.asarray(left).tobytes() == np.asarray(right).tobytes()


def masked_names(model):
    return [
        part.name
        for part in model._flatten_layers()
        if isinstance(part, Masked) and part.masked_kernels()
    ]


PROJECTIONS = ["query", "key", "value", "attention_output"]
CASES = {
    "block": (lambda: Block(6), ["up", *PROJECTIONS, "down"]),
    "lazy": (
        lambda: Lazy(6),
        ["hidden", "cell"],
    ),
    "model": (
        lambda: Inner(name="inner"),
        ["up", *PROJECTIONS, "down", "out"],
    ),
    "wrapped": (
        lambda: layers.TimeDistributed(
            keras.Sequential([layers.Reshape((2, 2)), Block(6)])
        ),
        ["up", *PROJECTIONS, "down"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_layers_made_of_layers(case, tmp_path):
    make, names = CASES[case]
    model, x = model_with(make()), batch()
    twin = mask_model(model)
    assert sorted(masked_names(twin)) == sorted(names)
    assert same(twin(x), model(x))
    for outer, inner in zip(
        model._flatten_layers(), twin._flatten_layers(), strict=True
    ):
        assert isinstance(inner, type(outer))
        assert inner.name == outer.name or not inner.weights
    for kernel in kernels_of(twin):
        assert kernel.mask.path == f"{kernel.path}_mask"
    again = keras.models.clone_model(twin)
    assert sorted(masked_names(again)) == sorted(names)

    net = PackNet(model)
    head = layers.Dense(3)
    head.build((None, net.feature_count()))
    net.add_task("one", 3, head=head)  # It counts as trained.
    net.prune(0.5)
    net.pack()
    before = net.predict(x, verbose=0)
    net.add_task("two", 3, origin="random")
    net.compile("adamw", "sparse_categorical_crossentropy")
    net.fit(x, np.arange(4) % 3, epochs=1, verbose=0)
    net.pack()
    net.activate("one")
    assert same(net.predict(x, verbose=0), before)
    net.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras", {"Lazy": Lazy})
    loaded.activate("one")
    assert same(loaded.predict(x, verbose=0), before)
    plain = extract(net, "one")
    assert not any(
        isinstance(part, (Masked, InnerTwins))
        for part in plain._flatten_layers()
    )
    assert same(plain.predict(x, verbose=0), before)


def kernels_of(model):
    return [
        kernel
        for part in model._flatten_layers()
        if isinstance(part, Masked)
        for kernel in part.masked_kernels()
    ]


def test_skip_inside(tmp_path):
    model, x = model_with(Block(6)), batch()
    for skip, names in (
        ("up", [*PROJECTIONS, "down"]),
        (["attention"], ["up", "down"]),
        (["query", "down"], ["up", *PROJECTIONS[1:]]),
    ):
        twin = mask_model(model, skip=skip)
        assert sorted(masked_names(twin)) == sorted(names)
        assert same(twin(x), model(x))
        twin.save(tmp_path / "twin.keras")
        loaded = keras.saving.load_model(tmp_path / "twin.keras")
        assert masked_names(loaded) == masked_names(twin)
        assert same(loaded(x), model(x))


def test_depthwise_kernels_inside_are_private(tmp_path):
    @keras.saving.register_keras_serializable("test_composite")
    class Convolutions(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.first = layers.DepthwiseConv1D(2)
            self.second = [layers.SeparableConv1D(3, 2)]

        def call(self, x):
            return self.second[0](self.first(x))

    model = model_with(Convolutions())
    twin = mask_model(model, depthwise="private")
    assert [k.name for k in kernels_of(twin)] == ["pointwise_kernel"]
    separable = twin.layers[1].second[0].name
    assert coverage(twin).skipped == (
        "convolutions",
        f"{separable}/depthwise_kernel",
    )
    twin.save(tmp_path / "twin.keras")
    loaded = keras.saving.load_model(tmp_path / "twin.keras")
    assert [k.name for k in kernels_of(loaded)] == ["pointwise_kernel"]
    assert same(loaded(batch()), model(batch()))
    assert len(kernels_of(mask_model(model))) == 3


def test_a_layer_that_cannot_be_made_again_is_named():
    class Nameless(layers.Layer):
        def __init__(self, dense):
            super().__init__(name="nameless")
            self.dense = dense

        def call(self, x):
            return self.dense(x)

        def get_config(self):
            raise NotImplementedError

    with pytest.raises(ConversionError, match="'nameless' .Nameless. cannot"):
        mask_model(model_with(Nameless(layers.Dense(3))))


def test_settings_of_inner_layers():
    layer = MaskedMultiHeadAttention(
        2, 3, inside={"query": {"prunable": False}, "key": None}
    )
    x = batch()
    layer(x, x)
    assert type(layer.key_dense) is layers.EinsumDense
    assert type(layer.value_dense) is MaskedEinsumDense
    assert not layer.query_dense.prunable and layer.value_dense.prunable
    config = layer.get_config()
    assert config["inside"] == {"query": {"prunable": False}, "key": None}
    copy = MaskedMultiHeadAttention.from_config(config)
    assert copy.get_config() == config
    with pytest.raises(ConversionError, match="names 'quary'"):
        MaskedMultiHeadAttention(2, 3, inside={"quary": None})(x, x)
    rnn = MaskedGRU(3, inside={"gru_cell": {"prunable": ["kernel"]}})
    rnn(x)
    assert [k.prunable for k in rnn.cell.masked_kernels()] == [True, False]


def test_flash_attention_is_refused():
    for make in (
        lambda: MaskedMultiHeadAttention(2, 3, flash_attention=True),
        lambda: MaskedGroupedQueryAttention(3, 2, 1, flash_attention=True),
    ):
        with pytest.raises(ConversionError, match="flash_attention=True of"):
            make()
    assert MaskedMultiHeadAttention(2, 3)._flash_attention is False


def test_inner_twins_refuse_what_twins_refuse():
    layer = MaskedMultiHeadAttention(2, 3)
    layer(batch(), batch())
    rnn = MaskedGRU(3)
    rnn(batch())
    for inner in (layer.query_dense, rnn.cell):
        with pytest.raises(ConversionError, match="quantize"):
            inner.quantize("int8")
    with pytest.raises(ConversionError, match="enable_lora"):
        layer.query_dense.enable_lora(2)


def test_causal_attention_and_masks_keep_their_bytes():
    words = keras.Input((5,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True)(words)
    x = layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)
    window = {"sliding_window": 2} if HAS_WINDOWS else {}
    x, scores = layers.MultiHeadAttention(2, 3, **window)(
        x, x, return_attention_scores=True
    )
    x = layers.LSTM(3)(x)
    model = keras.Model(words, [x, scores])
    ids = np.int32([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]])
    twin = mask_model(model)
    for left, right in zip(model(ids), twin(ids), strict=True):
        assert same(left, right)


def test_cells_of_a_users_own_stack():
    model = model_with(
        layers.RNN(
            layers.StackedRNNCells([layers.LSTMCell(2), layers.LSTMCell(3)])
        )
    )
    twin = mask_model(model)
    cells = twin.layers[1].cell.cells
    assert all(type(cell) is MaskedLSTMCell for cell in cells)
    assert same(twin(batch()), model(batch()))


def test_works_in_a_users_masked_layer():
    class Both(Masked, layers.Layer):
        kernel_names = ("w",)

        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = MaskedDense(3, name="inner")

        def build(self, shape):
            self.w = self.add_weight(shape=(shape[-1], shape[-1]))
            self.dense.build(shape)

        def call(self, x):
            return self.dense(x @ self.w)

    model = model_with(Both(name="both"))
    assert mask_model(model) is model
    assert masked_names(model) == ["both", "inner"]
