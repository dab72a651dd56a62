"""Files that earlier versions wrote, kept in `tests/fixtures/`."""

import keras
import pytest


def needs_keras(version):
    """Skips a test of a file that a later release of Keras wrote.

    Keras reads what earlier releases wrote, and not always what later ones
    did: their configs have arguments that it does not know.
    """
    written, here = (
        tuple(map(int, text.split(".")[:2]))
        for text in (version, keras.__version__)
    )
    if written > here:
        pytest.skip(f"written by Keras {version}, which is later than ours")
