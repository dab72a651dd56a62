"""Memory that one training step frees is kept for the next.

The first `GeneratorDataset` of a process, which every distributed data set
has, makes TensorFlow (2.21) tell the C library of Linux to give each block of
more than 128 KB memory of its own, and to hand it back when it is freed; for
good, where the library would have learned from the sizes that it sees. Then
nearly every tensor of a training step begins with fresh pages, each of which
the system has to find and to clear: a gigabyte a step for MobileNet at batch
32, and half of the processor's time.
"""

import ctypes

import tensorflow as tf

# <malloc.h>; what the library arrives at by itself with tensors of 32 MB.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_THRESHOLD = 32 << 20


def keep_freed_memory() -> None:
    """Lets this process reuse the memory of its tensors, where it does not.

    It changes settings of the whole process, so a program calls it, not a
    library: the apps that train do. Call it when the devices are set up.
    Other systems and C libraries than Linux's own are left alone.

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
