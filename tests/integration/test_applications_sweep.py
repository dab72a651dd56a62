"""Every network of keras.applications, masked: the same bytes come out.

    python -m pytest tests/integration/test_applications_sweep.py -m large

goes through all of them and prints the table of docs/networks.md; without
`-m large` the smallest ones are checked, and that the table has them all.
"""

import dataclasses
import gc
import inspect
import pathlib

import keras
import numpy as np
import pytest

from packnet_tf.convert.coverage import coverage
from packnet_tf.convert.mask_model import mask_model
from packnet_tf.layers import Masked
from packnet_tf.networks import build

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs/networks.md"
NAMES = [
    name
    for name, value in vars(keras.applications).items()
    if inspect.isfunction(value)
]
# They run always: convolutions, depthwise ones, blocks with scales.
SMALL = ("MobileNet", "MobileNetV2", "MobileNetV3Small")
# The smallest images that Keras accepts; 32 pixels where nothing is said.
SIZES = {
    "InceptionResNetV2": 75,
    "InceptionV3": 75,
    "Xception": 71,
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of the table."""

    name: str
    size: int
    layers: int
    masked: int
    depthwise: int
    total: int

    def __str__(self):
        return (
            f"| `{self.name.lower()}` | {self.size} | {self.layers} | "
            f"{self.masked:,} | {self.depthwise:,} | {self.total:,} | "
            f"{self.masked / self.total:.2%} |"
        )


@pytest.fixture(scope="module")
def table(request):
    """Collects rows, and prints them at the end of a large run."""
    rows = []
    yield rows
    if "large" in request.config.option.markexpr:
        manager = request.config.pluginmanager.getplugin("capturemanager")
        with manager.global_and_fixture_disabled():
            lines = sorted(map(str, rows))
            print("\n" + "\n".join(lines))


def outputs_of(model, size):
    images = np.random.default_rng(0).uniform(0, 255, (2, size, size, 3))
    return np.asarray(model(images.astype("float32"), training=False))


def disturb(model):
    """Gives every normalization and bias values of its own.

    Fresh ones are 0 and 1 everywhere: exchanged, nobody would notice.
    """
    random = np.random.default_rng(1)
    for variable in model.weights:
        if len(variable.shape) == 1 and variable.dtype == "float32":
            noise = random.uniform(0.0, 0.05, variable.shape)
            variable.assign(np.asarray(variable) + noise)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # It computes with copies.


def convert(name):
    """Masks a network, compares the outputs, and returns its row."""
    size = SIZES.get(name, 32)
    keras.utils.set_random_seed(0)
    model = build(name, image_size=size, weights="none").backbone
    disturb(model)
    before = outputs_of(model, size)
    masked = mask_model(model)
    assert outputs_of(masked, size).tobytes() == before.tobytes()
    assert np.isfinite(before).all() and np.abs(before).max() > 0
    # No kernel is left out: what has no mask is private, and small.
    found = coverage(masked)
    assert not found.skipped
    assert found.weights_total == model.count_params()
    return Row(
        name=name,
        size=size,
        layers=found.layers_masked,
        masked=found.weights_masked,
        depthwise=sum(
            int(np.prod(kernel.variable.shape))
            for layer in masked._flatten_layers()
            if isinstance(layer, Masked)
            for kernel in layer.masked_kernels()
            if not kernel.prunable
        ),
        total=found.weights_total,
    )


@pytest.mark.parametrize(
    "name",
    [
        name if name in SMALL else pytest.param(name, marks=pytest.mark.large)
        for name in NAMES
    ],
)
def test_outputs_keep_their_bytes(name, table):
    try:
        row = convert(name)
    finally:
        # One after the other: all of them would take some 15 GB.
        keras.backend.clear_session()
        gc.collect()
    table.append(row)
    assert str(row) in DOCUMENT.read_text(), f"docs/networks.md: {row}"


def test_the_table_has_every_network():
    _, _, table = DOCUMENT.read_text().partition("| network | pixels |")
    listed = [
        line.split("`")[1]
        for line in table.splitlines()
        if line.startswith("| `")
    ]
    assert listed == sorted(name.lower() for name in NAMES)
