"""Freed memory is kept, whatever TensorFlow asks of the C library."""

import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

ROOT = pathlib.Path(__file__).parents[2]
PAGES_OF_A_BLOCK = (2 << 20) // 4096

# Prints how many pages are new to the process when blocks of 2 MB come and
# go (NumPy asks for huge pages for larger ones).
PROGRAM = """
import resource
import numpy as np
import tensorflow as tf
from packnet_tf.model.freed_memory import keep_freed_memory

def new_pages(times=20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        np.ones(1 << 18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def distribute():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    dataset = tf.data.Dataset.range(2).batch(1)
    next(iter(strategy.experimental_distribute_dataset(dataset)))

if {keep}:
    keep_freed_memory()
distribute()
new_pages(2)
print(new_pages())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux")
@pytest.mark.parametrize(
    "keep",
    [
        pytest.param(
            False,
            marks=pytest.mark.skipif(
                tf.__version__.startswith(("2.19.", "2.20.")),
                reason="new in TensorFlow 2.21",
            ),
        ),
        True,
    ],
)
def test_blocks_are_given_out_again(keep):
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(keep=keep)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    pages = int(ended.stdout)
    if keep:
        assert pages < PAGES_OF_A_BLOCK
    else:
        # What is mended: each block had pages of its own. Where this fails,
        # TensorFlow has changed its mind, and the module can go.
        assert pages >= 20 * PAGES_OF_A_BLOCK
