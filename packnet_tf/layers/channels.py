"""Which axes of a kernel number its output channels."""

import keras

_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


def channel_axes(layer: keras.layers.Layer, kernel: str) -> tuple[int, ...]:
    """Returns the axes of a kernel that number a layer's output channels.

    An output channel is one feature of what the layer computes with the
    kernel; its weights are those at one place of these axes:

    - Dense, convolutions, embeddings and the pointwise part of separable
      convolutions: the last axis.
    - Transposed convolutions: the last but one, (..., out, in).
    - Depthwise convolutions, and that part of separable ones: the last two,
      as each pair of an input channel and a multiplier has an output.
    - EinsumDense: what the equation does not sum over, e.g. heads and their
      size in the projections of attention.

    Args:
        layer: The layer.
        kernel: Name of the kernel's attribute.

    Returns:
        Axes counted from the end, in rising order.

    Example:

    >>> channel_axes(keras.layers.EinsumDense("abc,cde->abde", 8), "kernel")
    (-2, -1)
    """
    if isinstance(layer, keras.layers.EinsumDense):
        inputs, output = layer.equation.split("->")
        axes = inputs.split(",")[1]
        return tuple(
            place - len(axes)
            for place, axis in enumerate(axes)
            if axis in output
        )
    if isinstance(layer, _TRANSPOSED):
        return (-2,)
    if isinstance(layer, _DEPTHWISE) or kernel == "depthwise_kernel":
        return (-2, -1)
    return (-1,)
