"""What cannot be masked is refused, and named."""

import keras
import numpy as np
import pytest
from keras import layers
from support.plain_nets import (
    Subclassed,
    check,
    fill,
)

from packnet_tf.convert.coverage import Coverage, coverage
from packnet_tf.convert.mask_model import mask_model
from packnet_tf.errors import ConversionError
from packnet_tf.layers import MaskedDense


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
