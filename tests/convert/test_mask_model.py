"""Plain models masked: outputs, names, sharing, and what was adapted."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from support.plain_nets import (
    check,
    fill,
    functional,
    images,
    same,
    sequential,
)

from packnet_tf.convert.coverage import Coverage, coverage
from packnet_tf.convert.mask_model import mask_model
from packnet_tf.layers import Masked, MaskedConv2D, MaskedDense
from packnet_tf.model.replicas import make_strategy


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


def test_normalization_of_any_rank_is_private():
    inputs = keras.Input((5, 4))
    x = layers.LayerNormalization(axis=[1, 2])(layers.PReLU()(inputs))
    check(
        fill(keras.Model(inputs, layers.Dense(2)(x))),
        np.random.rand(2, 5, 4).astype(np.float32),
    )


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
