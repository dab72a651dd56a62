"""The unpruned network, which new tasks start from, as named arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np


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


def _all(arrays, kind: str) -> list[np.ndarray]:
    count = sum(name.startswith(f"{kind}_") for name in arrays)
    return [arrays[f"{kind}_{i}"] for i in range(count)]
