"""What files and configs hold of masked layers."""

import h5py
import keras
import numpy as np
import pytest
from support.families import (
    FAMILIES,
    IMAGE,
    Own,
    all_same,
    built,
    family,
    fill,
    inputs_of,
    model_of,
    same,
    state,
)

from packnet_tf.errors import ConversionError, StateError
from packnet_tf.layers import (
    Masked,
    MaskedDense,
    MaskedSeparableConv2D,
)
from packnet_tf.layers.state import values_follow


@family
@pytest.mark.parametrize("view_task", [None, 1])
def test_keras_file_round_trip(case, view_task, tmp_path):
    model = model_of(case)
    before = state(model)
    model.get_layer("masked").view_task = view_task
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert all_same(before, state(loaded))
    assert all_same(before, state(model))
    assert loaded.get_layer("masked").view_task is None
    x = inputs_of(case[2])
    for task in (None, 1, 2):
        model.get_layer("masked").view_task = task
        loaded.get_layer("masked").view_task = task
        assert same(model(x), loaded(x))


@family
def test_free_weights_are_not_in_a_file(case, tmp_path):
    model, other = model_of(case), model_of(case)
    fill(other.get_layer("masked"), seed=9)
    owned = []
    for kernel in model.get_layer("masked").masked_kernels():
        mask = kernel.owners
        kernel.variable.assign(np.where(mask, kernel.value, 0))
        owned.append((int(np.count_nonzero(mask)),))
    file = tmp_path / "model.weights.h5"
    model.save_weights(file)
    shapes = set()
    with h5py.File(file) as store:
        store.visititems(lambda _, part: shapes.add(getattr(part, "shape", ())))
    assert shapes.issuperset(owned)
    other.load_weights(file)
    assert all_same(state(model), state(other))


@pytest.mark.parametrize("old, new", [("w", "kernel"), ("w0", "w")])
def test_free_weights_come_back_under_the_keys_of_today(old, new, tmp_path):
    """As when a later Keras gives a variable another key, or two."""

    class Stock(keras.layers.Layer):
        keys = (old,)

        def build(self, input_shape):
            self.w = self.add_weight(shape=(input_shape[-1], 3))

        def call(self, x):
            return x @ self.w

        def save_own_variables(self, store):
            for key in Stock.keys:
                store[key] = self.w

        def load_own_variables(self, store):
            self.w.assign(store[Stock.keys[0]])

    class Later(Masked, Stock):
        kernel_names = ("w",)

    def made(seed):
        layer = Later()
        model = keras.Sequential([keras.Input((4,)), layer])
        fill(layer, seed=seed)
        (kernel,) = layer.masked_kernels()
        kernel.variable.assign(np.where(kernel.owners, kernel.value, 0))
        return model

    model, other = made(0), made(9)
    model.save_weights(tmp_path / "model.weights.h5")
    Stock.keys = (new, old)
    other.load_weights(tmp_path / "model.weights.h5")
    assert all_same(state(model), state(other))
    other.save_weights(tmp_path / "other.weights.h5")
    model = made(5)
    model.load_weights(tmp_path / "other.weights.h5")
    assert all_same(state(model), state(other))


@family
@pytest.mark.parametrize("view_task", [None, 2])
def test_weights_file_round_trip(case, view_task, tmp_path):
    model, other = model_of(case), model_of(case)
    fill(other.get_layer("masked"), seed=9)
    for part in (model, other):
        part.get_layer("masked").view_task = view_task
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    assert all_same(state(model), state(other))
    assert other.get_layer("masked").view_task == view_task


def test_no_values_are_drawn_where_others_follow():
    drawn, empty = MaskedDense(4), MaskedDense(4)
    drawn.build((None, 3))
    with values_follow():
        empty.build((None, 3))
    assert np.all(drawn.kernel) and not np.any(empty.kernel)


@family
def test_files_do_not_depend_on_the_view(case):
    layer = built(case)
    stores = []
    for view_task in (None, 1):
        layer.view_task = view_task
        store = {}
        layer.save_own_variables(store)
        stores.append({k: np.asarray(v).tobytes() for k, v in store.items()})
    assert stores[0] == stores[1]


@family
def test_loads_what_the_stock_layer_saved_and_keeps_the_masks(case):
    stock, _, shape, config = case
    plain = stock(**config)
    plain(inputs_of(shape))
    store = {}
    plain.save_own_variables(store)
    layer = built(case)
    masks = [np.asarray(k.mask) for k in layer.masked_kernels()]
    layer.load_own_variables({k: np.asarray(v) for k, v in store.items()})
    assert all_same(masks, [np.asarray(k.mask) for k in layer.masked_kernels()])
    assert all_same(
        state(plain),
        [v for v in state(layer) if v.dtype != np.uint8],
    )


@family
def test_clone_and_config_round_trip(case):
    model = model_of(case)
    model.get_layer("masked").view_task = 1
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    assert all_same(state(model), state(clone))
    layer, copy = model.get_layer("masked"), clone.get_layer("masked")
    assert type(copy) is type(layer)
    assert copy.get_config() == layer.get_config()
    assert "prunable" not in layer.get_config()


@family
def test_a_mask_of_another_shape_is_refused_and_nothing_is_loaded(case):
    layer = built(case)
    before = state(layer)
    store = {}
    layer.save_own_variables(store)
    store = {k: np.asarray(v).copy() for k, v in store.items()}
    name = layer.masked_kernels()[-1].name
    other = MaskedDense(3)
    other.build((None, 2))
    wrong = {}
    other.save_own_variables(wrong)
    store[f"{name}_mask"] = wrong["kernel_mask"]
    store["0"] = store["0"] + 1
    with pytest.raises(StateError):
        layer.load_own_variables(store)
    assert all_same(before, state(layer))


def test_own_layer_with_automatic_config(tmp_path):
    inputs = keras.Input((4,))
    layer = Own(3, prunable=["w"], name="own")
    model = keras.Model(inputs, layer(inputs))
    assert [k.name for k in layer.masked_kernels()] == ["w"]
    fill(layer)
    model.save(tmp_path / "own.keras")
    loaded = keras.saving.load_model(tmp_path / "own.keras")
    assert all_same(state(model), state(loaded))
    assert loaded.get_layer("own").get_config() == layer.get_config()
    both = Own(3, with_extra=True)
    both.build((None, 4))
    assert [k.name for k in both.masked_kernels()] == ["w", "extra"]


def test_works_in_a_subclassed_model(tmp_path):
    @keras.saving.register_keras_serializable("test_state")
    class Net(keras.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.first = MaskedDense(4)
            self.rest = [MaskedDense(3), MaskedDense(2)]

        def build(self, input_shape):
            self.first.build(input_shape)
            self.rest[0].build((None, 4))
            self.rest[1].build((None, 3))

        def call(self, x):
            x = self.first(x)
            for layer in self.rest:
                x = layer(x)
            return x

    net = Net()
    x = inputs_of((4,))
    net(x)
    for layer in (net.first, *net.rest):
        fill(layer)
        layer.view_task = 1
    net.save(tmp_path / "net.keras")
    loaded = keras.saving.load_model(tmp_path / "net.keras")
    assert all_same(state(net), state(loaded))


def test_a_private_kernel_has_no_mask():
    private = {"private_kernels": ["depthwise_kernel"]}
    layer = built(FAMILIES["separable"], **private)
    assert [k.name for k in layer.masked_kernels()] == ["pointwise_kernel"]
    assert not hasattr(layer, "depthwise_kernel_mask")
    layer.view_task = 1
    assert layer.depthwise_kernel is layer._depthwise_kernel
    config = layer.get_config()
    assert config["private_kernels"] == ["depthwise_kernel"]
    copy = MaskedSeparableConv2D.from_config(config)
    copy(inputs_of(IMAGE))
    store = {}
    layer.save_own_variables(store)
    copy.load_own_variables({k: np.asarray(v) for k, v in store.items()})
    assert all_same(state(layer), state(copy))
    assert copy.get_config() == config
    with pytest.raises(ConversionError, match="no kernel 'depthwise'"):
        MaskedSeparableConv2D(4, 3, private_kernels=["depthwise"])


def test_prunable_is_in_the_config_when_it_was_chosen():
    layer = built(FAMILIES["dense"], prunable=False)
    assert layer.get_config()["prunable"] is False
    assert not MaskedDense.from_config(layer.get_config()).prunable
    assert not layer.masked_kernels()[0].prunable
    two = built(FAMILIES["separable"], prunable=["depthwise_kernel"])
    assert two.get_config()["prunable"] == ["depthwise_kernel"]
    copy = MaskedSeparableConv2D.from_config(two.get_config())
    assert copy.prunable == ("depthwise_kernel",)
    with pytest.raises(ConversionError, match="no kernel 'kernle'"):
        MaskedDense(3, prunable=["kernle"])
