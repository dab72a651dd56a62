"""The unpruned network, which new tasks start from, as named arrays."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np

from packnet_tf.errors import StateError, first_line


class StoredKernels(Sequence[np.ndarray]):
    """The kernels of an archive, each read whenever it is asked for.

    All of them take as much memory as the network, and only the start of a
    new task needs them.

    Args:
        file: The archive, of the arrays of `origin_arrays`.
        shapes: The kernels' shapes.
    """

    def __init__(self, file: pathlib.Path, shapes: Sequence[tuple[int, ...]]):
        # Whatever the process's folder is by then.
        self._file = file.absolute()
        self._shapes = list(shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index):
        place = range(len(self))[index]
        if isinstance(place, range):
            return [self[i] for i in place]
        try:
            with np.load(self._file, allow_pickle=False) as arrays:
                value = arrays[f"kernel_{place}"]
        except Exception as error:
            raise StateError(
                f"{self._file} cannot be read ({first_line(error)}), from "
                "which new tasks start; restore it from a copy."
            ) from error
        if value.shape != self._shapes[place]:
            raise StateError(
                f"{self._file} is of another network: kernel {place} has the "
                f"shape {value.shape}, expected {self._shapes[place]}; "
                "restore it from a copy."
            )
        return value


def origin_arrays(net: Any) -> dict[str, np.ndarray]:
    """Returns the kernels and private variables from before pruning, by name.

    Args:
        net: A `PackNet`.

    Returns:
        `kernel_0`, `kernel_1`, ... and `private_0`, ...; empty if the network
        does not have them.
    """
    arrays = {}
    for kind, values in (
        ("kernel", net.pretrained_kernels),
        ("private", net.pretrained_private),
    ):
        for i, value in enumerate(values or ()):
            arrays[f"{kind}_{i}"] = value
    return arrays


def set_origin(net: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Gives a network what `origin_arrays` returned.

    Args:
        net: A `PackNet`.
        arrays: The arrays; those of other names are ignored.

    Raises:
        ValueError: If they belong to another network.
    """
    if "kernel_0" not in arrays:
        return
    net.pretrained_kernels = _all(arrays, "kernel")
    net.pretrained_private = _all(arrays, "private")


def keep_origin(net: Any, file: pathlib.Path) -> None:
    """Gives a network what a file has of `origin_arrays`.

    The kernels stay in the file; see `StoredKernels`.

    Args:
        net: A `PackNet`.
        file: The archive, which was checked.

    Raises:
        TaskError: If it belongs to another network.
    """
    with np.load(file, allow_pickle=False) as arrays:
        if "kernel_0" not in arrays:
            return
        net.pretrained_private = _all(arrays, "private")
    net.book.bank.pretrained = StoredKernels(
        file, [tuple(kernel.mask.shape) for kernel in net.masked_kernels()]
    )


def _all(arrays, kind: str) -> list[np.ndarray]:
    count = sum(name.startswith(f"{kind}_") for name in arrays)
    return [arrays[f"{kind}_{i}"] for i in range(count)]
