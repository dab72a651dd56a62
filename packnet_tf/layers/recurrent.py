"""The masked twins of recurrent layers and their cells.

They take the arguments of their stock layers; cells also take those of
`Masked`, and layers also `inside`, as `MaskedLSTM` does. Keras's fused GPU
program (cuDNN) gets the views of the kernels; whether Keras uses it does not
depend on the task.
"""

import keras

from packnet_tf.layers.composite import MaskedInside
from packnet_tf.layers.masked import Masked
from packnet_tf.layers.registry import twin_of


class _Cell(Masked):
    """Base of the cells."""

    kernel_names = ("kernel", "recurrent_kernel")


@twin_of(keras.layers.SimpleRNNCell)
class MaskedSimpleRNNCell(_Cell, keras.layers.SimpleRNNCell):
    """A `keras.layers.SimpleRNNCell` with both kernels under masks."""


@twin_of(keras.layers.GRUCell)
class MaskedGRUCell(_Cell, keras.layers.GRUCell):
    """A `keras.layers.GRUCell` with both kernels under masks."""


@twin_of(keras.layers.LSTMCell)
class MaskedLSTMCell(_Cell, keras.layers.LSTMCell):
    """A `keras.layers.LSTMCell` with both kernels under masks.

    Example:

    >>> layer = keras.layers.RNN(MaskedLSTMCell(6))
    >>> layer(keras.ops.ones((1, 5, 4))).shape
    TensorShape([1, 6])
    """


@twin_of(keras.layers.SimpleRNN)
class MaskedSimpleRNN(MaskedInside, keras.layers.SimpleRNN):
    """A `keras.layers.SimpleRNN` whose cell is a `MaskedSimpleRNNCell`."""


@twin_of(keras.layers.GRU)
class MaskedGRU(MaskedInside, keras.layers.GRU):
    """A `keras.layers.GRU` whose cell is a `MaskedGRUCell`."""


@twin_of(keras.layers.LSTM)
class MaskedLSTM(MaskedInside, keras.layers.LSTM):
    """A `keras.layers.LSTM` whose cell is a `MaskedLSTMCell`.

    Args:
        *args: As for `keras.layers.LSTM`.
        inside: Settings of the cell, by its name, such as
            `{"lstm_cell": {"prunable": ["kernel"]}}`.
        **kwargs: As for `keras.layers.LSTM`.

    Example:

    >>> layer = MaskedLSTM(6, return_sequences=True)
    >>> layer(keras.ops.ones((1, 5, 4))).shape
    TensorShape([1, 5, 6])
    >>> [kernel.name for kernel in layer.cell.masked_kernels()]
    ['kernel', 'recurrent_kernel']
    """
