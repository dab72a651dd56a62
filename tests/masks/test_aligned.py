"""Zeros that begin where TensorFlow wants them to."""

import numpy as np
import pytest

from packnet_tf.masks.aligned import aligned_zeros


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 5, 7), (1 << 20,)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float64])
def test_zeros_begin_at_a_multiple_of_64_bytes(shape, dtype):
    # Several at once, of which most would begin elsewhere by chance.
    for array in [aligned_zeros(shape, dtype) for _ in range(8)]:
        assert array.shape == shape and array.dtype == dtype
        assert not array.any()
        assert array.ctypes.data % 64 == 0 or not array.size
        assert array.flags.writeable and array.flags.c_contiguous
