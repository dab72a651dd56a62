"""Computes a packed task's digest: its view, private variables and head."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from packnet_tf.masks import ownership


def kernel_digests(
    kernels: Sequence[tuple[np.ndarray, np.ndarray]], owners: int
) -> list[bytes]:
    """Returns, for each owner, a digest of the weights it owns.

    The view of task t consists of the weights of owners 1 to t, so one pass
    over the kernels serves the digests of all tasks.

    Args:
        kernels: Pairs of kernel and mask.
        owners: The highest owner.
    """
    hashes = [hashlib.sha256() for _ in range(owners)]
    parts = [
        (kernel, mask, owner)
        for kernel, mask in kernels
        for owner in range(1, owners + 1)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda part: ownership.owner_digest(*part), parts)
        for (_, _, owner), digest in zip(parts, found, strict=True):
            hashes[owner - 1].update(digest)
    return [h.digest() for h in hashes]


def task_digest(
    owned: Sequence[bytes],
    since: int,
    private: Sequence[np.ndarray],
    constants: Sequence[np.ndarray],
    head: Sequence[np.ndarray],
) -> str:
    """Returns the digest of one task as a hexadecimal string.

    Args:
        owned: `kernel_digests` of owners 1 to the task's own.
        since: See `Task.since`.
        private: The task's private variables.
        constants: Preprocessing constants, shared by all tasks.
        head: The variables of the task's head.
    """
    whole = hashlib.sha256()
    if since > 2:
        whole.update(f"owners 1 and {since} to {len(owned)}".encode())
    for digest in (*owned[:1], *owned[since - 1 :]):
        whole.update(digest)
    for part, arrays in enumerate((private, constants, head)):
        whole.update(f"part {part}: {len(arrays)} arrays".encode())
        for array in arrays:
            array = np.asarray(array)
            whole.update(f"{array.dtype.name}{array.shape}".encode())
            whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()
