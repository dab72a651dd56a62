"""Claims, frees, counts and views weights by their ownership masks.

A mask is a uint8 array of its kernel's shape: 0 is a free weight, k a weight
owned by task k. All functions are pure; masks are never changed in place.
Large arrays are processed in blocks, so that hardly any memory is needed
beyond the result.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from packnet_tf.errors import CapacityError, PackNetError, TaskError

FREE = 0
MAX_TASKS = 255

# Weights per block: whole bytes of packed bits, and small enough for the
# processor's caches.
_BLOCK = 1 << 18
# Up to here, looking for each owner is quicker than `np.bincount`.
_FEW = 16


def check_free(task: str, share: float) -> None:
    """Refuses a new task if no weights are free.

    Args:
        task: The task's name.
        share: The share of the weights that is free.

    Raises:
        CapacityError: If it is 0.
    """
    if share == 0.0:
        raise CapacityError(
            f"No free weights are left for {task!r}; go back to a packed "
            "state before the last task and prune more there."
        )


def claim(mask: np.ndarray, owner: int) -> np.ndarray:
    """Returns the mask with every free weight owned by `owner`.

    Args:
        mask: uint8 array of any shape.
        owner: The task's number, 1 to 255.

    Example:
        >>> claim(np.array([0, 1, 0], np.uint8), 2)
        array([2, 1, 2], dtype=uint8)
    """
    check_mask(mask)
    _check_owner(owner)
    return mask + (mask == FREE) * np.uint8(owner)


def release(
    mask: np.ndarray, owner: int, where: np.ndarray | None = None
) -> np.ndarray:
    """Returns the mask with the weights of `owner` free.

    Args:
        mask: uint8 array of any shape.
        owner: The task's number, 1 to 255.
        where: Boolean array of the same shape: which of them; by default all.

    Example:
        >>> release(np.array([2, 1, 0], np.uint8), 2)
        array([0, 1, 0], dtype=uint8)
    """
    check_mask(mask)
    _check_owner(owner)
    stays = mask != owner
    if where is not None:
        stays |= ~where
    return mask * stays


def visible(owners: Any, last: Any, since: Any) -> Any:
    """Returns which owned weights a task sees.

    Args:
        owners: Their owners: a uint8 array, or tensor. Free weights, which are
            0, count as seen.
        last: The task's number.
        since: See `Task.since`. The number 2 costs nothing.

    Returns:
        Booleans of the same shape and kind.

    Example:
        >>> visible(np.array([1, 2, 3, 4], np.uint8), 3, 3)
        array([ True, False,  True, False])
    """
    older = owners <= last
    if isinstance(since, int) and since == 2:
        return older
    return older & ((owners < 2) | (owners >= since))


def view(
    kernel: np.ndarray, mask: np.ndarray, task: int, since: int = 2
) -> np.ndarray:
    """Returns the kernel as a task sees it.

    Weights owned by the task or an earlier one keep their bytes; those of
    later tasks and free ones read +0.0 (the paper, section 3).

    Args:
        kernel: The weights of all tasks.
        mask: uint8 array of the kernel's shape.
        task: The task's number, 1 to 255.
        since: Owners from 2 to the one before this read +0.0 too; see
            `Task.since`.

    Returns:
        A new array of the kernel's shape and dtype.

    Example:
        >>> view(np.array([5.0, 6.0, 7.0]), np.array([0, 1, 2], np.uint8), 1)
        array([0., 6., 0.])
    """
    _check_pair(kernel, mask)
    _check_owner(task)
    seen = np.empty(kernel.shape, kernel.dtype)
    # Bytes are multiplied as integers by 0 or 1: several times faster than
    # `where`, and unlike a product of floats right for inf, NaN and -0.0.
    integer = np.dtype(f"u{kernel.dtype.itemsize}")
    values = np.ascontiguousarray(kernel).reshape(-1).view(integer)
    owners, result = np.reshape(mask, -1), seen.reshape(-1).view(integer)
    for block in blocks(result.size):
        owned = _seen(owners[block], task, since)
        np.multiply(values[block], owned, out=result[block])
    return seen


def _seen(owners: np.ndarray, task: int, since: int) -> np.ndarray:
    """Returns which weights a task sees; free ones are not seen."""
    # They wrap around to 255, beyond any task.
    seen = owners - np.uint8(1) < np.uint8(task)
    if since > 2:
        seen &= (owners < 2) | (owners >= since)
    return seen


def is_whole(
    kernel: np.ndarray, mask: np.ndarray, task: int, since: int = 2
) -> bool:
    """Returns whether `view` has the kernel's own bytes.

    Args:
        kernel: As in `view`.
        mask: As in `view`.
        task: As in `view`.
        since: As in `view`.
    """
    integer = np.dtype(f"u{kernel.dtype.itemsize}")
    values = np.ascontiguousarray(kernel).reshape(-1).view(integer)
    owners = np.reshape(mask, -1)
    for block in blocks(values.size):
        if np.any(values[block][~_seen(owners[block], task, since)]):
            return False
    return True


def count(mask: np.ndarray) -> dict[int, int]:
    """Returns how many weights each owner has.

    Args:
        mask: uint8 array of any shape.

    Returns:
        Owner to number of weights, in rising order: always 0 (free), and
        every owner with at least one weight.

    Example:
        >>> count(np.array([2, 1, 2], np.uint8))
        {0: 0, 1: 1, 2: 2}
    """
    check_mask(mask)
    totals = np.zeros(MAX_TASKS + 1, np.int64)
    flat = np.asarray(mask).reshape(-1)
    highest = int(flat.max(initial=FREE))
    for block in blocks(flat.size):
        if highest < _FEW:
            for owner in range(highest + 1):
                totals[owner] += np.count_nonzero(flat[block] == owner)
        else:
            totals += np.bincount(flat[block], minlength=MAX_TASKS + 1)
    return {
        owner: int(number)
        for owner, number in enumerate(totals)
        if number or owner == FREE
    }


def totals(masks: Iterable[Any]) -> dict[int, int]:
    """Returns how many weights each owner has in several masks together.

    Args:
        masks: uint8 arrays, or variables of them, of any shapes.

    Returns:
        As `count`.

    Example:
        >>> totals([np.array([0, 1], np.uint8), np.array([1], np.uint8)])
        {0: 1, 1: 2}
    """
    sums: dict[int, int] = {FREE: 0}
    for mask in masks:
        for owner, number in count(np.asarray(mask)).items():
            sums[owner] = sums.get(owner, 0) + number
    return dict(sorted(sums.items()))


def owner_digest(kernel: np.ndarray, mask: np.ndarray, owner: int) -> bytes:
    """Returns the digest of the weights that one task owns in a kernel.

    It covers the kernel's shape and dtype, the owned positions (one bit each)
    and their values (little endian), but nothing of other owners.

    Args:
        kernel: The weights of all tasks.
        mask: uint8 array of the kernel's shape.
        owner: The task's number, 1 to 255.

    Returns:
        The 32 bytes of a SHA-256.
    """
    _check_pair(kernel, mask)
    _check_owner(owner)
    values, owners = np.reshape(kernel, -1), np.reshape(mask, -1)
    little = values.dtype.newbyteorder("<")
    positions, weights = hashlib.sha256(), hashlib.sha256()
    for block in blocks(values.size):
        own = owners[block] == owner
        positions.update(np.packbits(own, bitorder="little").data)
        owned = np.compress(own, values[block]).astype(little, copy=False)
        weights.update(owned.view(np.uint8).data)
    facts = f"{values.dtype.name}{tuple(kernel.shape)}".encode()
    whole = hashlib.sha256(facts)
    whole.update(positions.digest())
    whole.update(weights.digest())
    return whole.digest()


def blocks(size: int) -> Iterator[slice]:
    """Yields slices of an array of `size` elements, one block each."""
    for start in range(0, size, _BLOCK):
        yield slice(start, min(start + _BLOCK, size))


def _check_owner(owner: int) -> None:
    if not 1 <= owner <= MAX_TASKS:
        raise TaskError(
            f"Tasks are numbered 1 to {MAX_TASKS}; received {owner!r}."
        )


def check_mask(mask: np.ndarray) -> None:
    """Raises a PackNetError if a mask's dtype is not uint8."""
    if mask.dtype != np.uint8:
        raise PackNetError(
            f"A mask is a uint8 array; received dtype {mask.dtype}. Convert "
            "it with mask.astype(np.uint8)."
        )


def _check_pair(kernel: np.ndarray, mask: np.ndarray) -> None:
    check_mask(mask)
    if kernel.shape != mask.shape:
        raise PackNetError(
            f"A mask has its kernel's shape {kernel.shape}; received one of "
            f"shape {mask.shape}."
        )
