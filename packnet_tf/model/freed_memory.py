"""Freed memory that the process keeps, whatever TensorFlow asks for."""

import ctypes

import tensorflow as tf

# <malloc.h>; what the library arrives at by itself with tensors of 32 MB.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_THRESHOLD = 32 << 20


def keep_freed_memory() -> None:
    """Lets this process reuse the memory of tensors that were freed.

    The first `GeneratorDataset` of a process, which every distributed data
    set has, makes TensorFlow (2.21) tell the C library of Linux to return each
    freed block of more than 128 KB to the system, for good. Nearly every
    tensor of a training step then begins with fresh pages, which took half of
    the processor's time.

    It changes settings of the whole process, so a program calls it, not a
    library: the apps that train do, once the devices are set up. Systems and
    C libraries other than Linux's own are left alone.

    Example:

    >>> strategy = make_strategy()
    >>> keep_freed_memory()
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    # TensorFlow makes its own choice once: now, not after ours.
    with tf.device("CPU:0"):
        once = tf.data.Dataset.from_generator(
            lambda: iter([0]), output_signature=tf.TensorSpec([], tf.int32)
        )
        next(iter(once))
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
    mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_THRESHOLD)
