"""Peak memory of fitting a layer as wide as VGG-16's fc6 at 224 px.

  python benchmarks/fit_memory.py

One Dense layer of 25,088 x 4,096 weights is pruned by half and fitted on
features of 384 images. Memory does not depend on the number of iterations,
which few suffice to show.
"""

import os
import pathlib
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import keras
import numpy as np
from absl import app, flags

from benchmarks.memory import memory, peak, reset_peak
from packnet_tf.model.packnet import PackNet
from packnet_tf.reconstruct import solver

_INPUTS = flags.DEFINE_integer("inputs", 512, "Channels of 7 x 7 places.")
_OUTPUTS = flags.DEFINE_integer("outputs", 4096, "Outputs of the layer.")
_IMAGES = flags.DEFINE_integer("images", 384, "Images to fit on.")
_ITERATIONS = flags.DEFINE_integer("iterations", 40, "Of the solver, at most.")


def main(_):
    shape = (7, 7, _INPUTS.value)
    net = PackNet(
        keras.Sequential(
            [
                keras.Input(shape),
                keras.layers.Flatten(),
                keras.layers.Dense(_OUTPUTS.value),
            ]
        )
    )
    net.add_task("base", classes=0)
    random = np.random.default_rng(0)
    images = random.normal(size=(_IMAGES.value, *shape))
    images = np.maximum(images, 0).astype(np.float32)
    before = memory()
    reset_peak()
    start = time.process_time()
    solver._ITERATIONS = _ITERATIONS.value
    net.prune(0.5, images=images)
    print(
        f"{_INPUTS.value * 49:,} x {_OUTPUTS.value:,} weights, "
        f"{_IMAGES.value} images: {before / 1e9:.2f} GB before, "
        f"{peak() / 1e9:.2f} GB at the peak of pruning and the fit, "
        f"{time.process_time() - start:.0f} s of CPU time"
    )


if __name__ == "__main__":
    app.run(main)
