"""The mixin, on twins of all kinds and on layers of a user's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.families import (
    FAMILIES,
    ROWS,
    all_same,
    built,
    family,
    fill,
    inputs_of,
    model_of,
    same,
    state,
)

from packnet_tf.errors import ConversionError, TaskError
from packnet_tf.layers import (
    TWINS,
    Masked,
    MaskedDense,
    MaskedLSTMCell,
)


@family
def test_is_a_subclass_with_the_same_bytes_while_all_is_visible(case):
    stock, twin, shape, config = case
    x = inputs_of(shape)
    plain, masked = stock(**config), twin(**config)
    assert isinstance(masked, stock)
    plain(x), masked(x)
    store = {}
    plain.save_own_variables(store)
    masked.load_own_variables({k: np.asarray(v) for k, v in store.items()})
    assert same(plain(x), masked(x))
    for kernel in masked.masked_kernels():
        kernel.mask.assign(np.ones(kernel.mask.shape))
    masked.view_task = 1
    assert same(plain(x), masked(x))


@family
def test_program_is_the_stock_one_without_a_view(case):
    stock, twin, shape, config = case
    x = inputs_of(shape)

    def operations(layer):
        layer(x)
        graph = tf.function(layer).get_concrete_function(tf.constant(x)).graph
        return [op.type for op in graph.get_operations()]

    assert operations(stock(**config)) == operations(twin(**config))


@family
def test_view_reads_later_and_free_weights_as_zero(case):
    layer = built(case)
    for kernel in layer.masked_kernels():
        value, mask = np.asarray(kernel.variable), np.asarray(kernel.mask)
        for task in (1, 2, 3, 255):
            layer.view_task = task
            expected = np.where((mask > 0) & (mask <= task), value, 0)
            assert same(
                getattr(layer, kernel.name), expected.astype(value.dtype)
            )
        layer.view_task = None
        assert getattr(layer, kernel.name) is kernel.variable


@family
def test_outputs_of_a_view_are_those_of_a_plain_layer_with_that_kernel(case):
    stock, _, shape, config = case
    x = inputs_of(shape)
    layer = built(case)
    layer.view_task = 2
    plain = stock(**config)
    plain(x)
    store = {}
    layer.save_own_variables(store)
    masks = [store.pop(f"{k.name}_mask") for k in layer.masked_kernels()]
    assert len(masks) == len(layer.kernel_names)
    for kernel in layer.masked_kernels():
        key = next(k for k, v in store.items() if v is kernel.variable)
        store[key] = getattr(layer, kernel.name)
    plain.load_own_variables({k: np.asarray(v) for k, v in store.items()})
    assert same(layer(x), plain(x))


@family
def test_stock_accounts_of_variables_are_kept(case):
    stock, _, shape, config = case
    layer, plain = built(case), stock(**config)
    plain(inputs_of(shape))
    assert [v.name for v in layer.trainable_variables] == [
        v.name for v in plain.trainable_variables
    ]
    masks = layer.non_trainable_variables
    assert [m.name for m in masks] == [f"{n}_mask" for n in layer.kernel_names]
    assert all(m.dtype == "uint8" for m in masks)
    assert [m.path for m in masks] == [
        f"{k.path}_mask" for k in layer.masked_kernels()
    ]
    layer.trainable = False
    assert layer.trainable_variables == []
    layer.trainable = True
    assert not any(k.mask.trainable for k in layer.masked_kernels())


@family
def test_gradients_reach_visible_weights_only(case):
    layer = built(case)
    layer.view_task = 2
    with tf.GradientTape() as tape:
        total = keras.ops.sum(layer(inputs_of(case[2])))
    kernels = layer.masked_kernels()
    gradients = tape.gradient(total, [k.variable.value for k in kernels])
    for kernel, gradient in zip(kernels, gradients, strict=True):
        mask = np.asarray(kernel.mask)
        hidden = (mask == 0) | (mask > 2)
        gradient = np.asarray(tf.convert_to_tensor(gradient))
        assert not gradient[hidden].any()
        assert gradient[~hidden].any()


def test_twins_are_registered():
    for stock, twin in TWINS.items():
        assert issubclass(twin, stock)
        assert keras.saving.get_registered_name(twin) == (
            f"packnet_tf>{twin.__name__}"
        )


def test_two_kernels_have_two_masks_and_no_alias():
    layer = built(FAMILIES["separable"])
    assert [k.name for k in layer.masked_kernels()] == [
        "depthwise_kernel",
        "pointwise_kernel",
    ]
    assert [k.prunable for k in layer.masked_kernels()] == [False, True]
    with pytest.raises(AttributeError, match="pointwise_kernel_mask"):
        _ = layer.mask


def test_recurrent_cell():
    x = inputs_of(ROWS)
    plain = keras.layers.RNN(keras.layers.LSTMCell(3))
    masked = keras.layers.RNN(MaskedLSTMCell(3))
    plain(x), masked(x)
    masked.cell.set_weights(
        [*plain.cell.get_weights(), *masked.cell.get_weights()[-2:]]
    )
    assert same(plain(x), masked(x))
    for kernel in masked.cell.masked_kernels():
        kernel.mask.assign(np.ones(kernel.mask.shape))
    masked.cell.view_task = 1
    assert same(plain(x), masked(x))


def test_a_users_subclass_of_a_twin(tmp_path):
    @keras.saving.register_keras_serializable("test_masked")
    class Doubled(MaskedDense):
        def build(self, input_shape):
            super().build(input_shape)
            self.gain = self.add_weight(shape=(), initializer="ones")

        @property
        def kernel(self):
            return 2 * super().kernel

        def call(self, inputs):
            return super().call(inputs) * self.gain

    model = keras.Sequential([keras.Input((4,)), Doubled(3)])
    layer = model.layers[0]
    fill(layer)
    layer.view_task = 1
    visible = np.asarray(layer.mask) == 1
    raw = np.asarray(layer.masked_kernels()[0].variable)
    assert same(layer.kernel, 2 * np.where(visible, raw, np.float32(0)))
    # Stock saving writes `kernel`, here a computed one: not this class's
    # matter; its weights file is written by the variables.
    weights = model.get_weights()
    clone = keras.models.clone_model(model)
    clone.set_weights(weights)
    assert all_same(state(model), state(clone))


def test_class_errors():
    with pytest.raises(TypeError, match="defines `kernel` itself"):

        class Hides(Masked, keras.layers.Layer):
            @property
            def kernel(self):
                return self._kernel

    with pytest.raises(TypeError, match="must be a tuple"):

        class NotTuple(Masked, keras.layers.Layer):
            kernel_names = "kernel"


def test_missing_kernel_is_named():
    class Forgets(Masked, keras.layers.Layer):
        kernel_names = ("w",)

        def build(self, input_shape):
            self.v = self.add_weight(shape=(input_shape[-1], 2))

    with pytest.raises(ConversionError, match="did not assign `self.w`"):
        Forgets().build((None, 3))


def test_unbuilt_layer():
    layer = MaskedDense(3, name="late")
    with pytest.raises(AttributeError, match="build the layer"):
        _ = layer.kernel
    with pytest.raises(ConversionError, match="'late' has no kernels yet"):
        layer.masked_kernels()
    store = {}
    layer.save_own_variables(store)
    assert store == {}


@pytest.mark.parametrize("owner", [0, 256, -1, True, 1.5])
def test_view_task_out_of_range(owner):
    with pytest.raises(TaskError, match="view_task="):
        MaskedDense(3).view_task = owner


def test_class_changed_in_place_after_build():
    for stock, twin, shape, config in FAMILIES.values():
        plain = stock(**config)
        x = inputs_of(shape)
        before = np.asarray(plain(x))
        plain.__class__ = twin
        plain.become_masked()
        assert same(plain(x), before)
        for kernel in plain.masked_kernels():
            kernel.mask.assign(np.ones(kernel.mask.shape))
        plain.view_task = 1
        assert same(plain(x), before)


def test_lora_and_quantization_are_refused():
    for layer in (built(FAMILIES["dense"]), built(FAMILIES["depthwise"])):
        with pytest.raises(ConversionError, match="enable_lora"):
            layer.enable_lora(2)
        with pytest.raises(ConversionError, match="quantize"):
            layer.quantize("int8")
    with pytest.raises(ConversionError, match="enable_lora"):
        MaskedDense(3, lora_rank=2)
    with pytest.raises(ConversionError, match="quantize"):
        MaskedDense(3, dtype="int8_from_float32")
    with pytest.raises(ConversionError, match="quantize"):
        model_of(FAMILIES["dense"]).quantize("int8")


def test_trains_as_the_stock_layer_does():
    def run(cls):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), cls(3), cls(2)])
        model.compile("adam", "mse")
        x = inputs_of((4,))
        model.fit(x, np.ones((2, 2)), epochs=3, verbose=0, shuffle=False)
        return [np.asarray(v) for v in model.trainable_variables]

    assert all_same(run(keras.layers.Dense), run(MaskedDense))
