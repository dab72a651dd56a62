"""Parts of the tests of networks: images, the smallest one, a download."""

import pathlib

import keras
import numpy as np

# The smallest network of keras.applications.
MOBILENET = {"alpha": 0.25}


def pixels(size, count=3):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (count, size, size, 3)).astype("float32")


def mobilenet(size=32, **options):
    return keras.applications.MobileNet(
        alpha=0.25, weights=None, input_shape=(size, size, 3), **options
    )


def names_and_paths(model):
    return [part.name for part in model._flatten_layers()] + [
        variable.path for variable in model.weights
    ]


def published(monkeypatch, answer):
    """Makes the download of any file do what `answer` does."""
    from keras.src.utils import file_utils

    monkeypatch.setattr(file_utils, "urlretrieve", answer)


def damaged(origin, target, *_):
    pathlib.Path(target).write_bytes(b"half of it")
