"""RandAugment: a few random operations on an image, of one strength.

Cubuk, Zoph, Shlens and Le, "RandAugment: Practical automated data
augmentation with a reduced search space" (2020): two of 14 operations, drawn
at random, with the same magnitude. Pillow computes them; seed, epoch and the
example's identity determine which, and in which direction.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from packnet_tf.data.images import random_draws
from packnet_tf.options.augmentation import MAX_MAGNITUDE

OPERATIONS = 2

# Fills what becomes visible beyond the border.
_GREY = (128, 128, 128)
_MAX_SHEAR = 0.3
_MAX_TURN = 30.0
_MAX_SHIFT = 100 / 331
_MAX_CHANGE = 0.9
_LOST_BITS = 4

# Operations take an image and a strength from -1 to 1; those without a
# direction ignore its sign.
_Operation = Callable[[Image.Image, float], Image.Image]


def rand_augment(
    pixels: np.ndarray, ids: np.ndarray, seed: int, epoch: int, magnitude: float
) -> np.ndarray:
    """Returns images after two random operations each.

    Args:
        pixels: uint8 array of shape [examples, height, width, 3].
        ids: Identities of the examples, uint64 of shape [examples].
        seed: The run's seed.
        epoch: Number of the epoch.
        magnitude: Strength of all operations, from above 0 to 10.

    Returns:
        uint8 array of the same shape.
    """
    found = np.empty_like(pixels)
    steps = []
    for i in range(OPERATIONS):
        which = random_draws.uniform(
            seed, random_draws.OPERATION + i, ids, epoch
        )
        sign = random_draws.uniform(seed, random_draws.SIGN + i, ids, epoch)
        steps.append(
            (
                (which * len(_OPERATIONS)).astype(int).tolist(),
                np.where(sign < 0.5, -1.0, 1.0).tolist(),
            )
        )
    for row, square in enumerate(pixels):
        image = Image.fromarray(square)
        for which, sign in steps:
            operation = _OPERATIONS[which[row]]
            image = operation(image, sign[row] * magnitude / MAX_MAGNITUDE)
        found[row] = np.asarray(image)
    return found


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        matrix,
        Image.Resampling.BILINEAR,
        fillcolor=_GREY,
    )


def _enhanced(kind) -> _Operation:
    return lambda image, s: kind(image).enhance(1 + _MAX_CHANGE * s)


# The article's 14, in its order.
_OPERATIONS: tuple[_Operation, ...] = (
    lambda image, s: image,
    lambda image, s: ImageOps.autocontrast(image),
    lambda image, s: ImageOps.equalize(image),
    lambda image, s: image.rotate(
        _MAX_TURN * s, Image.Resampling.BILINEAR, fillcolor=_GREY
    ),
    lambda image, s: ImageOps.solarize(image, round(256 * (1 - abs(s)))),
    _enhanced(ImageEnhance.Color),
    lambda image, s: ImageOps.posterize(image, 8 - round(_LOST_BITS * abs(s))),
    _enhanced(ImageEnhance.Contrast),
    _enhanced(ImageEnhance.Brightness),
    _enhanced(ImageEnhance.Sharpness),
    lambda image, s: _affine(image, 1, _MAX_SHEAR * s, 0, 0, 1, 0),
    lambda image, s: _affine(image, 1, 0, 0, _MAX_SHEAR * s, 1, 0),
    lambda image, s: _affine(
        image, 1, 0, _MAX_SHIFT * s * image.width, 0, 1, 0
    ),
    lambda image, s: _affine(
        image, 1, 0, 0, 0, 1, _MAX_SHIFT * s * image.height
    ),
)
