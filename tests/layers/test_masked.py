"""The mixin, on its own twins and on twins of families yet to come."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from packnet_tf.errors import ConversionError, StateError, TaskError
from packnet_tf.layers import (
    TWINS,
    Masked,
    MaskedConv2D,
    MaskedDense,
    MaskedDepthwiseConv2D,
    MaskedEinsumDense,
)


@keras.saving.register_keras_serializable("packnet_tf_tests")
class LocalSeparableConv2D(Masked, keras.layers.SeparableConv2D):
    kernel_names = ("depthwise_kernel", "pointwise_kernel")
    default_prunable = ("pointwise_kernel",)


@keras.saving.register_keras_serializable("packnet_tf_tests")
class LocalConv2DTranspose(Masked, keras.layers.Conv2DTranspose):
    pass


@keras.saving.register_keras_serializable("packnet_tf_tests")
class LocalEmbedding(Masked, keras.layers.Embedding):
    kernel_names = ("embeddings",)


@keras.saving.register_keras_serializable("packnet_tf_tests")
class LocalLSTMCell(Masked, keras.layers.LSTMCell):
    kernel_names = ("kernel", "recurrent_kernel")


@keras.saving.register_keras_serializable("packnet_tf_tests")
class Own(Masked, keras.layers.Layer):
    """A user's own layer: no super().build(), no get_config()."""

    kernel_names = ("w", "extra")

    def __init__(self, units, with_extra=False, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.with_extra = with_extra

    def build(self, input_shape):
        shape = (input_shape[-1], self.units)
        self.scale = self.add_weight(shape=(self.units,), initializer="ones")
        self.w = self.add_weight(name="w", shape=shape)
        self.extra = None
        if self.with_extra:
            self.extra = self.add_weight(name="extra", shape=shape)

    def call(self, inputs):
        kernel = self.w if self.extra is None else self.w + self.extra
        return keras.ops.matmul(inputs, kernel) * self.scale


IMAGE, ROWS, IDS = (6, 6, 3), (5, 4), (7,)
FAMILIES = {
    "dense": (keras.layers.Dense, MaskedDense, (4,), {"units": 5}),
    "conv": (
        keras.layers.Conv2D,
        MaskedConv2D,
        IMAGE,
        {"filters": 6, "kernel_size": 3, "groups": 3, "use_bias": False},
    ),
    "depthwise": (
        keras.layers.DepthwiseConv2D,
        MaskedDepthwiseConv2D,
        IMAGE,
        {"kernel_size": 3, "depth_multiplier": 2},
    ),
    "einsum": (
        keras.layers.EinsumDense,
        MaskedEinsumDense,
        ROWS,
        {
            "equation": "abc,cde->abde",
            "output_shape": (None, 2, 3),
            "bias_axes": "de",
        },
    ),
    "separable": (
        keras.layers.SeparableConv2D,
        LocalSeparableConv2D,
        IMAGE,
        {"filters": 4, "kernel_size": 3},
    ),
    "transpose": (
        keras.layers.Conv2DTranspose,
        LocalConv2DTranspose,
        IMAGE,
        {"filters": 4, "kernel_size": 3},
    ),
    "embedding": (
        keras.layers.Embedding,
        LocalEmbedding,
        IDS,
        {"input_dim": 11, "output_dim": 3},
    ),
}
family = pytest.mark.parametrize("case", FAMILIES.values(), ids=FAMILIES)


def inputs_of(shape, seed=0):
    random = np.random.default_rng(seed)
    if shape == IDS:
        return random.integers(0, 11, (2, *shape)).astype(np.int32)
    return random.normal(size=(2, *shape)).astype(np.float32)


def built(case, **kwargs):
    """A masked layer with weights and masks of tasks 0 to 3 in it."""
    _, twin, shape, config = case
    layer = twin(**config, **kwargs)
    layer(inputs_of(shape))
    fill(layer)
    return layer


def fill(layer, seed=1):
    random = np.random.default_rng(seed)
    for kernel in layer.masked_kernels():
        shape = tuple(kernel.variable.shape)
        kernel.variable.assign(random.normal(size=shape))
        kernel.mask.assign(random.integers(0, 4, shape))


def model_of(case):
    _, twin, shape, config = case
    dtype = "int32" if shape == IDS else None
    inputs = keras.Input(shape, dtype=dtype)
    layer = twin(**config, name="masked")
    model = keras.Model(inputs, layer(inputs))
    fill(layer)
    return model


def same(left, right):
    left, right = np.asarray(left), np.asarray(right)
    return (
        left.dtype == right.dtype
        and left.shape == right.shape
        and left.tobytes() == right.tobytes()
    )


def state(layer):
    return [np.asarray(v) for v in layer.variables]


def all_same(left, right):
    return len(left) == len(right) and all(map(same, left, right))


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


def test_twins_are_subclasses_of_their_keys():
    for stock, twin in TWINS.items():
        assert issubclass(twin, stock) and issubclass(twin, Masked)
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


def test_prunable_is_in_the_config_when_it_was_chosen():
    layer = built(FAMILIES["dense"], prunable=False)
    assert layer.get_config()["prunable"] is False
    assert not MaskedDense.from_config(layer.get_config()).prunable
    assert not layer.masked_kernels()[0].prunable
    two = built(FAMILIES["separable"], prunable=["depthwise_kernel"])
    assert two.get_config()["prunable"] == ["depthwise_kernel"]
    copy = LocalSeparableConv2D.from_config(two.get_config())
    assert copy.prunable == ("depthwise_kernel",)
    with pytest.raises(ConversionError, match="no kernel 'kernle'"):
        MaskedDense(3, prunable=["kernle"])


def test_recurrent_cell():
    x = inputs_of(ROWS)
    plain = keras.layers.RNN(keras.layers.LSTMCell(3))
    masked = keras.layers.RNN(LocalLSTMCell(3))
    plain(x), masked(x)
    masked.cell.set_weights(
        [*plain.cell.get_weights(), *masked.cell.get_weights()[-2:]]
    )
    assert same(plain(x), masked(x))
    for kernel in masked.cell.masked_kernels():
        kernel.mask.assign(np.ones(kernel.mask.shape))
    masked.cell.view_task = 1
    assert same(plain(x), masked(x))


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


def test_a_users_subclass_of_a_twin(tmp_path):
    @keras.saving.register_keras_serializable("packnet_tf_tests")
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
        plain._add_masks()
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


def test_works_in_a_subclassed_model(tmp_path):
    @keras.saving.register_keras_serializable("packnet_tf_tests")
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


def test_trains_as_the_stock_layer_does():
    def run(cls):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), cls(3), cls(2)])
        model.compile("adam", "mse")
        x = inputs_of((4,))
        model.fit(x, np.ones((2, 2)), epochs=3, verbose=0, shuffle=False)
        return [np.asarray(v) for v in model.trainable_variables]

    assert all_same(run(keras.layers.Dense), run(MaskedDense))
