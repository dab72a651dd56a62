import numpy as np
import pytest
import tensorflow as tf

from packnet_tf import ownership
from packnet_tf.folding import FoldedKernel, FoldedView, OwnerCodes


def _kernel(owners, shape=(3, 5, 7), seed=0):
    """Returns a kernel and a mask with free weights and all owners."""
    random = np.random.default_rng(seed)
    mask = random.integers(0, owners + 1, shape).astype(np.uint8)
    mask.ravel()[: owners + 1] = np.arange(owners + 1)
    kernel = random.normal(size=shape).astype("float32")
    return np.where(mask == ownership.FREE, np.float32(0), kernel), mask


@pytest.mark.parametrize("owners", [2, 3, 4, 5, 16, 17, 40])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_views_of_every_task_and_width(owners, dtype):
    kernel, mask = _kernel(owners)
    variable = tf.Variable(kernel, dtype=dtype)
    codes = OwnerCodes(mask, owners, "owners")
    for owner in range(1, owners):
        found = codes.view(variable.read_value(), owner).numpy()
        expected = ownership.view(variable.numpy(), mask, owner)
        assert found.tobytes() == expected.tobytes()


def test_codes_take_two_bits_for_four_tasks():
    kernel, mask = _kernel(4, shape=(100, 100))
    (blob,) = OwnerCodes(mask, 4, "owners").blob.numpy(),
    assert len(blob) < 1.05 * mask.size * 2 / 8


def test_codes_are_the_same_bytes_every_time():
    _, mask = _kernel(3)
    one, two = (OwnerCodes(mask, 3, "o").blob.numpy() for _ in range(2))
    assert one == two


def test_only_views_that_differ_are_made():
    kernel, mask = _kernel(5)
    # Task 3 has no weights here, and 5 neither: 2 = 3, and 4 is everything.
    mask[(mask == 3) | (mask == 5)] = 4
    folded = FoldedKernel(kernel, mask, 5, "x")
    assert folded.of(5) is folded.kernel
    assert folded.of(4) is folded.kernel
    assert folded.codes is None and folded.views == []
    assert isinstance(folded.of(2), FoldedView)
    assert folded.of(3) is folded.of(2)
    assert folded.of(1) is not folded.of(2)
    assert len(folded.views) == 2


def test_a_task_without_weights_sees_zeros():
    kernel, mask = _kernel(3)
    mask[mask == 1] = 2
    view = FoldedKernel(kernel, mask, 3, "x").of(1)
    view._initialize()
    assert not np.any(view.read_value().numpy())


def test_a_view_has_its_values_after_initialization():
    kernel, mask = _kernel(3)
    view = FoldedKernel(kernel, mask, 3, "test/view").of(2)
    view._initialize()
    expected = ownership.view(kernel, mask, 2)
    assert view.read_value().numpy().tobytes() == expected.tobytes()
