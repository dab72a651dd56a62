"""The mixin that puts a layer's kernels under masks.

A masked layer is a true subclass of its stock twin. Each kernel has a mask,
and the kernel's attribute returns the view of the layer's current task, so
that the stock `call` needs no change. With `view_task=None` the attribute is
the variable itself, and the layer's program is that of the stock layer.
"""

from collections.abc import Sequence
from typing import Any

import keras

from packnet_tf.errors import ConversionError, TaskError
from packnet_tf.layers.config import automatic_config
from packnet_tf.layers.kernel import MaskedKernel, View, channel_axes
from packnet_tf.layers.state import MaskedState
from packnet_tf.layers.switch import (
    Answering,
    TaskSwitch,
    reads_whole_kernels,
)
from packnet_tf.masks import ownership
from packnet_tf.tf_internals.files import is_automatic
from packnet_tf.tf_internals.layers import drop_variable, hidden_name, unlocked
from packnet_tf.tf_internals.workers import the_same_on_all_workers

_MASK_DTYPE = "uint8"


class Masked(MaskedState):
    """Mixin for a Keras layer: kernels shared between tasks by masks.

    Put it before the stock layer, or before `keras.layers.Layer` for a layer
    of your own, and name the attributes that hold kernels. All other weights
    of the layer are private variables of each task.

    Args:
        *args: Those of the stock layer.
        prunable: Which kernels lose weights when a task is pruned: `True`
            for all, `False` for none, or a sequence of kernel names. By
            default the class's `default_prunable`.
        private_kernels: Names of kernels without a mask, of which each task
            has its own copy.
        **kwargs: Those of the stock layer.

    Attributes:
        kernel_names: The attributes that hold kernels. A kernel that is None
            after `build` does not exist.
        default_prunable: See `prunable`.
        depthwise_kernels: For twins of stock layers: the kernels that
            `mask_model(depthwise="private")` leaves private.

    Example (docs/custom_layers.md has more):

    >>> @keras.saving.register_keras_serializable("my_package")
    ... class MyLayer(Masked, keras.layers.Layer):
    ...     kernel_names = ("w",)
    ...     def build(self, input_shape):
    ...         self.w = self.add_weight(shape=(input_shape[-1], 8))
    ...     def call(self, inputs):
    ...         return inputs @ self.w
    """

    kernel_names: tuple[str, ...] = ("kernel",)
    default_prunable: bool | Sequence[str] = True
    depthwise_kernels: tuple[str, ...] = ()
    private_kernels: tuple[str, ...] = ()
    _chosen_prunable: tuple[str, ...] | None = None
    _view_task: int | None = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if not isinstance(cls.kernel_names, tuple):
            raise TypeError(
                f"{cls.__name__}.kernel_names must be a tuple of attribute "
                f"names; received {cls.kernel_names!r}."
            )
        for name in cls.kernel_names:
            if any(
                isinstance(vars(base).get(name), View) for base in cls.__mro__
            ):
                # A subclass may extend the view through `super().kernel`.
                continue
            if name in vars(cls):
                raise TypeError(
                    f"{cls.__name__} defines `{name}` itself and names it in "
                    f"kernel_names, so its mask would have no effect; keep the "
                    f"variable in `self.{name}` and remove the definition."
                )
            setattr(cls, name, View(name))
        stock = getattr(super(), "get_config", None)
        if cls.get_config is Masked.get_config and is_automatic(stock):
            # A layer without its own `get_config` keeps Keras's
            # automatic one.
            cls.get_config = automatic_config(Masked)

    def __init__(
        self,
        *args: Any,
        prunable: bool | Sequence[str] | None = None,
        private_kernels: Sequence[str] = (),
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.become_masked(prunable, private_kernels)

    @property
    def view_task(self) -> int | None:
        """Number of the task whose view the layer computes with.

        With None everything is visible, and the program has no mask. It is
        read when the layer is traced, and is not saved. The layers of a
        `PackNet` follow the network and cannot be set.
        """
        view = self._view
        return None if view is None else view.owner

    @view_task.setter
    def view_task(self, owner: int | None) -> None:
        if owner is not None and (
            isinstance(owner, bool)
            or owner != int(owner)
            or not 1 <= owner <= ownership.MAX_TASKS
        ):
            raise TaskError(
                f"view_task={owner!r} of layer {self.name!r}: expected None or "
                f"the number of a task, 1 to {ownership.MAX_TASKS}."
            )
        if self._switch is not None:
            raise TaskError(
                f"view_task={owner!r} of layer {self.name!r}: it belongs to a "
                "network, which chooses the view; call the network's "
                "activate() instead."
            )
        self._view_task = None if owner is None else int(owner)

    @property
    def _view(self) -> Answering | None:
        """The task whose view is read; None for all weights."""
        if reads_whole_kernels():
            return None
        if self._switch is not None:
            return self._switch.view
        return None if self._view_task is None else Answering(self._view_task)

    def follow(self, switch: TaskSwitch) -> None:
        """Makes the layer compute for the task that a switch says.

        Raises:
            ConversionError: If it is part of another network.
        """
        if self._switch is not None:
            self._switch.refuse_another(self.name)
        self._switch = switch

    @property
    def prunable(self) -> bool | tuple[str, ...]:
        """Which kernels pruning takes weights of: all, none, or by name."""
        names = self._prunable_names()
        return True if names == self.kernel_names else names or False

    @property
    def mask(self) -> keras.Variable:
        """The mask of the layer's only kernel.

        Layers with several kernels have a `<kernel>_mask` for each.
        """
        if len(self.kernel_names) != 1:
            masks = ", ".join(f"{name}_mask" for name in self.kernel_names)
            raise AttributeError(
                f"{type(self).__name__} has several kernels; use {masks}."
            )
        return getattr(self, f"{self.kernel_names[0]}_mask")

    def is_prunable(self, kernel: str) -> bool:
        """Whether pruning takes weights of the kernel of that name."""
        return kernel in self._prunable_names()

    def masked_kernels(self) -> list[MaskedKernel]:
        """Returns the layer's kernels, in the order of `kernel_names`.

        Raises:
            ConversionError: If the layer is not built.
        """
        if not self.built:
            raise ConversionError(
                f"Layer {self.name!r} has no kernels yet; build its model, or "
                "call it on an input, first."
            )
        kernels = []
        for name in self.kernel_names:
            variable = self.__dict__.get(hidden_name(name))
            if variable is not None and name not in self.private_kernels:
                kernels.append(
                    MaskedKernel(
                        layer=self,
                        name=name,
                        variable=variable,
                        mask=getattr(self, f"{name}_mask"),
                    )
                )
        return kernels

    def kernel_channel_axes(self, name: str) -> tuple[int, ...]:
        """Returns the axes of a kernel that number its output channels.

        Pruning by filter frees whole output channels. Override this in a
        custom layer whose output channels are not on the last axis.

        Args:
            name: The kernel's attribute.

        Returns:
            Axes counted from the end, e.g. `(-1,)`.
        """
        return channel_axes(self, name)

    def get_config(self) -> dict[str, Any]:
        """Returns the stock layer's config, with the mask's settings."""
        config = super().get_config()
        if self._prunable_names() != self._default_prunable_names():
            prunable = self.prunable
            config["prunable"] = (
                prunable if isinstance(prunable, bool) else list(prunable)
            )
        if self.private_kernels:
            config["private_kernels"] = list(self.private_kernels)
        return config

    def enable_lora(self, *args: Any, **kwargs: Any) -> None:
        """Refused: LoRA would add to the kernel behind the mask."""
        raise ConversionError(
            f"enable_lora() on masked layer {self.name!r}: LoRA adds to every "
            "weight of the kernel, whoever owns it; add a task instead, or "
            "apply LoRA to packnet_tf.extract(net, task)."
        )

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        """Refused: a quantized kernel cannot be shared under a mask."""
        if not isinstance(self, Masked):
            # Keras wrapped this method before the layer became stock again.
            return type(self).quantize(self, *args, **kwargs)
        raise ConversionError(
            f"quantize() on masked layer {self.name!r}: the weights of all "
            "tasks would change; quantize packnet_tf.extract(net, task) "
            "instead."
        )

    def _default_prunable_names(self) -> tuple[str, ...]:
        return self._names("default_prunable", self.default_prunable)

    def _prunable_names(self) -> tuple[str, ...]:
        if self._chosen_prunable is None:
            return self._default_prunable_names()
        return self._chosen_prunable

    def become_masked(
        self,
        prunable: bool | Sequence[str] | None = None,
        private_kernels: Sequence[str] = (),
    ) -> None:
        """Sets up a stock layer whose class was changed to this one.

        Args:
            prunable: As for `__init__`, which calls this.
            private_kernels: The same.
        """
        if prunable is not None:
            self._chosen_prunable = self._names("prunable", prunable)
        if private_kernels:
            self.private_kernels = self._names(
                "private_kernels", private_kernels
            )
        self._refuse_other_kernels()
        if self.built:
            self._add_masks()

    def become_stock(self, stock: type[keras.layers.Layer]) -> None:
        """Prepares for a change of class to the stock class."""
        own = self.__dict__
        for name in self.kernel_names:
            if f"{name}_mask" in own:
                drop_variable(self, f"{name}_mask")
            kept = hidden_name(name)
            if kept in own and not hasattr(stock, name):
                own[name] = own.pop(kept)
        for setting in (
            "_chosen_prunable",
            "private_kernels",
            "_view_task",
            "_switch",
        ):
            own.pop(setting, None)

    def _names(self, setting: str, value: bool | Sequence[str]) -> tuple:
        """Returns the kernels that a setting means, in their order."""
        if isinstance(value, bool):
            return self.kernel_names if value else ()
        names = [value] if isinstance(value, str) else list(value)
        unknown = [name for name in names if name not in self.kernel_names]
        if unknown:
            raise ConversionError(
                f"{setting}={value!r} of layer {self.name!r}: no kernel "
                f"{unknown[0]!r}; expected True, False, or some of "
                f"{list(self.kernel_names)}."
            )
        return tuple(name for name in self.kernel_names if name in names)

    def after_build(self) -> None:
        """Gives every kernel its mask."""
        super().after_build()
        self._refuse_other_kernels()
        self._add_masks()

    def _add_masks(self) -> None:
        """Adds a mask, all free, to every kernel that has none yet."""
        own = self.__dict__
        for name in self.kernel_names:
            kept, mask = hidden_name(name), f"{name}_mask"
            if name in own:
                own[kept] = own.pop(name)
            if kept not in own:
                raise ConversionError(
                    f"Layer {self.name!r} ({type(self).__name__}) names "
                    f"the kernel `{name}`, but its build() did not assign "
                    f"`self.{name}`; expected one of its weights, or None "
                    "if it has none."
                )
            if own[kept] is None or mask in own or name in self.private_kernels:
                continue
            with unlocked(self), the_same_on_all_workers():
                variable = self.add_weight(
                    name=mask,
                    shape=tuple(own[kept].shape),
                    initializer="zeros",
                    dtype=_MASK_DTYPE,
                    trainable=False,
                    autocast=False,
                )
                setattr(self, mask, variable)

    def _refuse_other_kernels(self) -> None:
        if getattr(self, "lora_rank", None):
            self.enable_lora()
        if self.quantization_mode is not None:
            Masked.quantize(self)
