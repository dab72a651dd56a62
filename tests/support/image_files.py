"""Images for tests, and files of them."""

import io

import numpy as np
from PIL import Image


def pixels(height=24, width=36, channels=3, seed=0):
    random = np.random.default_rng(seed)
    shape = (height, width, channels) if channels else (height, width)
    # Smooth, so that JPEG files of it look alike whatever reads them.
    coarse = random.integers(0, 256, (4, 6, *shape[2:]), np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.BICUBIC)
    return np.asarray(image)


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
