"""What a masked layer reads as its kernel: the view of one task."""

import keras


class View:
    """A kernel's attribute: stores the variable, gives the view.

    Stock layers either keep the variable as `_kernel` behind a property
    `kernel`, or assign `self.kernel` itself. This data descriptor stands
    before both, and the variable is in `_kernel` either way.
    """

    def __init__(self, name: str):
        self._name = name

    def __get__(self, layer, owner=None):
        if layer is None:
            return self
        # From `__dict__`: Keras asks for an attribute before its first
        # assignment, and expects an AttributeError then.
        variable = layer.__dict__.get(f"_{self._name}", self)
        if variable is self:
            raise AttributeError(
                f"You must build the layer before accessing `{self._name}`."
            )
        mask = layer.__dict__.get(f"{self._name}_mask")
        if layer.view_task is None or mask is None:
            return variable
        mask = mask.value
        # `variable.value` follows the autocast scope, as the stock program
        # does; a `where` on cast values has the bytes of a cast `where`.
        value = variable.value
        # Free is 0: in unsigned numbers 0 - 1 is the largest, so that one
        # comparison tells owned by 1 to view_task from the rest.
        visible = keras.ops.less(
            keras.ops.subtract(mask, keras.ops.ones((), mask.dtype)),
            keras.ops.convert_to_tensor(layer.view_task, mask.dtype),
        )
        return keras.ops.where(visible, value, keras.ops.zeros((), value.dtype))

    def __set__(self, layer, value):
        layer.__dict__[f"_{self._name}"] = value

    def __delete__(self, layer):
        del layer.__dict__[f"_{self._name}"]
