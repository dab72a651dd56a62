"""The smallest real runs: a network, flags and images."""

import pathlib

import numpy as np
from PIL import Image

TINY = (
    "--network=cnn",
    "--network_options=width=4",
    "--weights=none",
    "--image_size=16",
    "--train_epochs=1",
    "--retrain_epochs=1",
    "--batch_size=8",
)


def make_images(
    folder, classes=("blue", "green", "red"), train=12, test=4, seed=0
):
    """Writes an image folder of coloured noise; a class is a colour."""
    random = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        for part, count in (("train", train), ("test", test)):
            place = pathlib.Path(folder) / part / name
            place.mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 120, (20, 24, 3), np.uint8)
                pixels[..., label % 3] += 100
                Image.fromarray(pixels).save(place / f"{i:02d}.jpg")
    return pathlib.Path(folder)
