"""The walk over a network: every topology, one pass or many, bad input."""

import keras
import numpy as np
import pytest
from support.fit_nets import (
    IMAGE,
    IMAGES,
    LINE,
    LINES,
    NETS,
    Own,
    changes_of,
    convolutions,
    error_after,
    masked,
    norms_of,
    transformer,
)

from packnet_tf.errors import ConversionError, DataError
from packnet_tf.reconstruct import reconstruct, statistics
from packnet_tf.tf_internals.layers import layers_of

layers = keras.layers


def fitted_bytes(model, images, **how):
    changes, norms = changes_of(model), norms_of(model)
    reconstruct(model, changes, images, normalizations=norms, **how)
    values = [change.fitted for change in changes]
    values += [value for norm in norms for _, value in norm.values]
    return [value.tobytes() for value in values]


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_the_fitted_network_answers_more_like_the_unpruned_one(net):
    make, images, number = net
    model = masked(make)
    changes = changes_of(model)
    before = [v.numpy().tobytes() for v in model.variables]
    kept = reconstruct(model, changes, images)
    assert [v.numpy().tobytes() for v in model.variables] == before
    assert not any("call" in vars(layer) for layer in layers_of(model))
    moved = 0
    for change in changes:
        outside = ~change.own
        same = change.fitted[outside].tobytes()
        assert same == change.start[outside].tobytes()
        moved += not np.array_equal(change.fitted, change.start)
    named = "embedding" in str([c.kernel.path for c in changes])
    assert moved == number - named
    assert len(kept) == len(changes) - number
    pruned = error_after(model, changes, images, fitted=False)
    fitted = error_after(model, changes, images, fitted=True)
    assert fitted < (0.8 if kept or named else 0.5) * pruned


@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_a_pass_for_each_layer_finds_the_same(net):
    make, images, _ = net
    model = masked(make)
    once, often = changes_of(model), changes_of(model)
    reconstruct(model, once, images)
    reconstruct(model, often, images, carried_bytes=1 << 16)
    for one, other in zip(once, often, strict=True):
        np.testing.assert_allclose(
            one.fitted, other.fitted, rtol=5e-2, atol=5e-3
        )


def test_wide_layers_are_fitted_as_well_without_a_matrix(monkeypatch):
    errors = []
    for widest in (statistics.WIDE, 8):
        monkeypatch.setattr(statistics, "WIDE", widest)
        model = masked(transformer)
        changes = changes_of(model)
        reconstruct(model, changes, LINES)
        errors.append(error_after(model, changes, LINES, fitted=True))
    assert errors[1] < 1.02 * errors[0]


@pytest.mark.parametrize("how", [{}, {"carried_bytes": 1 << 16}])
def test_the_same_images_give_the_same_bytes(how):
    model = masked(convolutions)
    assert fitted_bytes(model, IMAGES, **how) == fitted_bytes(
        model, IMAGES, **how
    )


@pytest.mark.parametrize("how", [{}, {"carried_bytes": 1 << 16}])
def test_normalizations_answer_with_the_spread_that_they_had(how):
    """The last one has no kernel after it, the first none before it."""

    def make():
        inputs = keras.Input(IMAGE)
        x = layers.BatchNormalization()(inputs)
        for _ in range(2):
            x = layers.Conv2D(8, 3, activation="relu")(x)
            x = layers.BatchNormalization()(x)
        return keras.Model(inputs, x)

    model = masked(make)
    changes, norms = changes_of(model), norms_of(model)
    wanted = np.asarray(model(IMAGES, training=False))
    reconstruct(model, changes, IMAGES, normalizations=norms, **how)
    assert all(norm.values for norm in norms)
    first, *later = norms
    np.testing.assert_allclose(first.mean, 0, atol=1e-5)
    assert all(np.abs(norm.variance - 1).max() > 0.01 for norm in later)
    for change in changes:
        change.kernel.variable.assign(change.fitted)
    for norm in norms:
        for variable, value in norm.values:
            variable.assign(value)
    found = np.asarray(model(IMAGES, training=False))
    # From a batch of the images, where they do not all fit into memory.
    close = {"rtol": 0.2, "atol": 0.02} if how else {"rtol": 1e-3, "atol": 1e-4}
    for spread in (np.mean, np.std):
        np.testing.assert_allclose(
            spread(found, (0, 1, 2)), spread(wanted, (0, 1, 2)), **close
        )


def test_a_normalization_that_runs_twice_keeps_its_statistics():
    def make():
        inputs = keras.Input((8, 8, 4))
        norm = layers.BatchNormalization()
        x = norm(layers.Conv2D(4, 1)(norm(inputs)))
        return keras.Model(inputs, x)

    model = masked(make)
    changes, (norm,) = changes_of(model), norms_of(model)
    images = np.concatenate([IMAGES, IMAGES[..., :1]], -1)
    reconstruct(model, changes, images, normalizations=[norm])
    assert not norm.values
    assert changes[0].fitted is not None


def test_a_data_set_of_batches_gives_what_an_array_gives():
    import tensorflow as tf

    model = masked(convolutions)
    batches = tf.data.Dataset.from_tensor_slices(
        (IMAGES, np.zeros(len(IMAGES)))
    ).batch(20)
    assert fitted_bytes(model, batches) == fitted_bytes(model, IMAGES)


def test_a_layer_of_ones_own_keeps_its_values():
    model = masked(
        lambda: keras.Sequential(
            [keras.Input(LINE), Own(name="own"), layers.Dense(5)]
        )
    )
    changes = changes_of(model)
    (kept,) = reconstruct(model, changes, LINES)
    assert kept.endswith("own/w")
    own, dense = changes
    assert own.fitted.tobytes() == own.start.tobytes()
    assert not np.array_equal(dense.fitted, dense.start)


@pytest.mark.parametrize("images", [3, 48, 96])
@pytest.mark.parametrize("steps_first", [True, False])
def test_rows_that_are_not_the_images_are_not_mixed(images, steps_first):
    def network():
        inputs = keras.Input(LINE)
        if steps_first:
            x = keras.ops.transpose(inputs, (1, 0, 2))
            x = layers.Dense(5, name="mixed")(x)
            x = keras.ops.transpose(x, (1, 0, 2))
        else:
            x = keras.ops.reshape(
                keras.ops.transpose(inputs, (1, 0, 2)), (-1, LINE[1])
            )
            x = layers.Dense(5, name="mixed")(x)
            x = keras.ops.reshape(x, (LINE[0], -1, 5))
            x = keras.ops.transpose(x, (1, 0, 2))
        return keras.Model(inputs, layers.Dense(7, name="after")(x))

    found = []
    for pruned_before in (False, True):
        model = masked(network)
        mixed, after = changes_of(model)
        changes = [mixed, after]
        if pruned_before:
            mixed.kernel.variable.assign(mixed.start)
            changes = [after]
        kept = reconstruct(model, changes, LINES[:images])
        assert kept == ([] if pruned_before else ["mixed/kernel"])
        found.append(after.fitted.tobytes())
    # The other layers see it as it will be.
    assert found[0] == found[1]


def test_mixed_precision_fits_in_float32():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = masked(convolutions)
    finally:
        keras.config.set_dtype_policy("float32")
    changes = changes_of(model)
    reconstruct(model, changes, IMAGES)
    assert {str(change.fitted.dtype) for change in changes} == {"float32"}
    pruned = error_after(model, changes, IMAGES, fitted=False)
    assert error_after(model, changes, IMAGES, fitted=True) < 0.5 * pruned


def _nan():
    images = IMAGES.copy()
    images[3, 2, 1, 0] = np.nan
    return images


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[:0], "there are none"),
        (_nan(), "hold NaN or infinity"),
        (IMAGES[:, :5], r"have the shape \(5, 8, 3\)"),
        (3, "expected an array with an image in each row"),
        (np.array(["a"] * 3), "expected numbers"),
    ],
)
def test_bad_images_are_refused_in_one_line(images, message):
    model = masked(convolutions)
    with pytest.raises(DataError, match=message) as caught:
        reconstruct(model, changes_of(model), images)
    assert "\n" not in str(caught.value)
    assert not any("call" in vars(layer) for layer in layers_of(model))


def test_few_images_are_warned_of():
    model = masked(convolutions)
    with pytest.warns(UserWarning, match="5 are few"):
        reconstruct(model, changes_of(model), IMAGES[:5])


def test_values_that_are_not_finite_name_the_kernel():
    model = masked(convolutions)
    with pytest.raises(DataError, match="values at .*/kernel are not finite"):
        reconstruct(model, changes_of(model), IMAGES * 1e30)


def test_a_layer_that_never_runs_is_named():
    @keras.saving.register_keras_serializable("test_walk")
    class Idle(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.used = layers.Dense(4)
            self.idle = layers.Dense(4, name="idle")

        def build(self, shape):
            self.used.build(shape)
            self.idle.build(shape)

        def call(self, x):
            return self.used(x)

    model = masked(
        lambda: keras.Sequential([keras.Input(LINE), Idle(name="outer")])
    )
    with pytest.raises(ConversionError, match="'idle' never runs"):
        reconstruct(model, changes_of(model), LINES)
