"""Every family of masked layers, held to the same standard."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support.families import all_same, same

from packnet_tf.convert.coverage import coverage
from packnet_tf.convert.mask_model import mask_model
from packnet_tf.layers import TWINS, Masked
from packnet_tf.layers.composite import InnerTwins
from packnet_tf.model.extract import extract
from packnet_tf.model.packnet import PackNet
from packnet_tf.serving.saved_model import export_saved_model

ROW, LINE, IMAGE, VOLUME = (6,), (7, 6), (7, 7, 6), (5, 5, 5, 4)
WORDS = 11

# Keras 3.14 brought the gate.
GATE = "use_gate" in inspect.signature(layers.MultiHeadAttention).parameters
# Name, layer, shape of its input, number of masked kernels.
FAMILIES = {
    "dense": (lambda: layers.Dense(5), ROW, 1),
    "einsum": (
        lambda: layers.EinsumDense("abc,cde->abde", (7, 2, 3), bias_axes="e"),
        LINE,
        1,
    ),
    "conv1d": (lambda: layers.Conv1D(4, 3, padding="causal"), LINE, 1),
    "conv2d": (lambda: layers.Conv2D(4, 3, groups=2), IMAGE, 1),
    "conv3d": (lambda: layers.Conv3D(4, 2, use_bias=False), VOLUME, 1),
    "transpose1d": (lambda: layers.Conv1DTranspose(4, 3, strides=2), LINE, 1),
    "transpose2d": (
        lambda: layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
        IMAGE,
        1,
    ),
    "transpose3d": (
        lambda: layers.Conv3DTranspose(3, 2, use_bias=False),
        VOLUME,
        1,
    ),
    "depthwise1d": (lambda: layers.DepthwiseConv1D(3), LINE, 1),
    "depthwise2d": (
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
        IMAGE,
        1,
    ),
    "separable1d": (lambda: layers.SeparableConv1D(4, 3), LINE, 2),
    "separable2d": (
        lambda: layers.SeparableConv2D(4, 3, use_bias=False),
        IMAGE,
        2,
    ),
    "embedding": (lambda: layers.Embedding(WORDS, 4), WORDS, 1),
    "attention": (lambda: layers.MultiHeadAttention(2, 3), LINE, 4),
    "attention_scores": (
        lambda: layers.MultiHeadAttention(
            2,
            3,
            value_dim=2,
            dropout=0.1,
            seed=1,
            **({"use_gate": True} if GATE else {}),
        ),
        LINE,
        4 + GATE,
    ),
    "grouped": (
        lambda: layers.GroupQueryAttention(3, 4, 2, use_bias=False),
        LINE,
        4,
    ),
    "simple_rnn": (lambda: layers.SimpleRNN(4), LINE, 2),
    "gru": (lambda: layers.GRU(4, return_sequences=True), LINE, 2),
    "lstm": (lambda: layers.LSTM(4, go_backwards=True), LINE, 2),
    "bidirectional": (
        lambda: layers.Bidirectional(layers.LSTM(3)),
        LINE,
        4,
    ),
    "cells": (
        lambda: layers.RNN([layers.GRUCell(3), layers.LSTMCell(2)]),
        LINE,
        4,
    ),
    "time_distributed": (
        lambda: layers.TimeDistributed(layers.Conv1D(3, 2)),
        IMAGE,
        1,
    ),
}
family = pytest.mark.parametrize("name", FAMILIES)
# The same, where what others cover already is left to the slow tests.
LONG = ("attention_scores", "bidirectional", "cells")
family_but_long = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in LONG else name
        for name in FAMILIES
    ],
)


def batch(name, seed=0):
    shape = FAMILIES[name][1]
    random = np.random.default_rng(seed)
    if shape == WORDS:
        return random.integers(0, WORDS, (6, 7)).astype(np.int32)
    return random.normal(size=(6, *shape)).astype(np.float32)


def model_of(name, masked=False):
    """A functional model with the layer, named `it`."""
    make, shape, _ = FAMILIES[name]
    inputs = keras.Input(
        (7,) if shape == WORDS else shape,
        dtype="int32" if shape == WORDS else None,
    )
    layer = make()
    layer = type(layer).from_config({**layer.get_config(), "name": "it"})
    attends = isinstance(
        layer, (layers.MultiHeadAttention, layers.GroupQueryAttention)
    )
    outputs = layer(inputs, inputs) if attends else layer(inputs)
    model = keras.Model(inputs, layers.Flatten()(outputs), name="model")
    fill(model)
    return mask_model(model) if masked else model


def fill(model, seed=1):
    random = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.dtype == "float32":
            variable.assign(random.normal(size=tuple(variable.shape)) * 0.5)


def kernels_of(model):
    return [
        kernel
        for layer in model._flatten_layers()
        if isinstance(layer, Masked)
        for kernel in layer.masked_kernels()
    ]


def own(model):
    """Gives the weights of a masked model to tasks 0 to 3."""
    random = np.random.default_rng(2)
    for kernel in kernels_of(model):
        kernel.mask.assign(random.integers(0, 4, kernel.mask.shape))
    return model


def show(model, task):
    for kernel in kernels_of(model):
        kernel.layer.view_task = task


def operations(model, x):
    graph = tf.function(model).get_concrete_function(tf.constant(x)).graph
    return sorted(op.type for op in graph.get_operations())


def test_every_twin_is_here():
    made = {
        type(part)
        for name in FAMILIES
        for part in model_of(name, masked=True)._flatten_layers()
    }
    missing = set(TWINS.values()) - made
    assert {cls.__name__ for cls in missing} <= {"MaskedSimpleRNNCell"}
    for stock, twin in TWINS.items():
        assert issubclass(twin, stock)
        assert issubclass(twin, (Masked, InnerTwins))


@family
def test_twin_has_the_bytes_of_the_stock_layer(name):
    model, x = model_of(name), batch(name)
    twin = mask_model(model)
    assert isinstance(twin.get_layer("it"), type(model.get_layer("it")))
    assert len(kernels_of(twin)) == FAMILIES[name][2]
    assert coverage(twin).weights_total == model.count_params()
    assert all(not np.asarray(k.mask).any() for k in kernels_of(twin))
    for training in (False, True):
        assert same(model(x, training=training), twin(x, training=training))
    assert operations(model, x) == operations(twin, x)
    for kernel in kernels_of(twin):
        kernel.mask.assign(np.ones(kernel.mask.shape))
    show(twin, 1)
    assert same(model(x), twin(x))
    # And the view is looked at: with all weights free, the kernels are 0.
    for kernel in kernels_of(twin):
        kernel.mask.assign(np.zeros(kernel.mask.shape))
        kernel.variable.assign(np.asarray(kernel.variable) + 1)
    hidden = twin(x)
    for kernel in kernels_of(twin):
        kernel.variable.assign(np.asarray(kernel.variable) + 1)
    assert same(hidden, twin(x))
    show(twin, None)
    assert not same(hidden, twin(x))


@family_but_long
def test_round_trips(name, tmp_path):
    model, x = own(model_of(name, masked=True)), batch(name)
    before = [np.asarray(v) for v in model.weights]
    for task in (None, 2):
        show(model, task)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert all_same(before, loaded.weights)
        other = model_of(name, masked=True)
        model.save_weights(tmp_path / "model.weights.h5")
        other.load_weights(tmp_path / "model.weights.h5")
        assert all_same(before, other.weights)
        clone = keras.models.clone_model(model)
        clone.set_weights(model.get_weights())
        for copy in (loaded, other, clone):
            assert [type(p) for p in copy._flatten_layers()] == [
                type(p) for p in model._flatten_layers()
            ]
            show(copy, 2)
            show(model, 2)
            assert same(model(x), copy(x))
    layer = model.get_layer("it")
    again = type(layer).from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


def answers(net, x, task):
    net.activate(task)
    return net.predict(x, verbose=0)


def packed(name):
    """A network with two tasks, and the first one's answers before."""
    x = batch(name)
    net = PackNet(model_of(name), depthwise="masked")
    for kernel in kernels_of(net.backbone):
        # Depthwise kernels too, which are not pruned by default.
        kernel.layer.become_masked(prunable=True)
    head = layers.Dense(3)
    head.build((None, net.feature_count()))
    net.add_task("first", 3, head=head)  # It counts as trained.
    net.prune(0.5)
    net.pack()
    before = answers(net, x, "first")
    net.add_task("second", 3, origin="random")
    net.compile(
        keras.optimizers.AdamW(0.01, weight_decay=0.1),
        "sparse_categorical_crossentropy",
    )
    net.fit(x, np.arange(len(x)) % 3, epochs=1, verbose=0)
    net.pack()
    return net, x, before


@family_but_long
def test_two_tasks(name):
    net, x, before = packed(name)
    for kernel in kernels_of(net.backbone):
        owners = np.asarray(kernel.mask)
        assert (owners == 1).any() and (owners == 2).any()
    assert not same(answers(net, x, "second"), before)
    assert same(answers(net, x, "first"), before)
    net.verify_digests()
    plain = extract(net, "first")
    assert not any(
        isinstance(part, (Masked, InnerTwins))
        for part in plain._flatten_layers()
    )
    assert all(
        type(part).__module__.startswith("keras.")
        for part in plain._flatten_layers()
    )
    assert same(plain.predict(x, verbose=0), before)


@pytest.mark.parametrize(
    "name", ["conv1d", "separable2d", "transpose3d", "grouped", "lstm"]
)
def test_saved_model(name, tmp_path):
    net, x, before = packed(name)
    export_saved_model(net, tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served"))
    for task in ("first", "second"):
        signature = served.signatures[task]
        # Of no image, the input has the name that it has in the model.
        (name,) = signature.structured_input_signature[1]
        scores = signature(**{name: tf.constant(x)})["scores"]
        assert same(scores, answers(net, x, task))
    assert same(answers(net, x, "first"), before)
