"""Dropping an iterator does not wait for its tuning thread."""

import gc
import time

import numpy as np
import pytest
import tensorflow as tf

from packnet_tf.data import pipeline
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.sources import arrays
from packnet_tf.model.replicas import make_strategy, split_for_replicas
from packnet_tf.tf_internals.datasets import without_autotune

# Long enough for a tuning thread to sleep for seconds at a time.
_LIFE = 2.5
_DROPS = 3


def _seconds_to_drop(make):
    """Returns the longest time that dropping one of several iterators took."""
    gc.collect()
    iterators = [make() for _ in range(_DROPS)]
    time.sleep(_LIFE)
    longest = 0.0
    while iterators:
        start = time.monotonic()
        iterators.pop()
        longest = max(longest, time.monotonic() - start)
    return longest


def _used(dataset):
    iterator = iter(dataset)
    for _ in iterator:
        pass
    return iterator


def _numbers():
    numbers = tf.data.Dataset.range(8).batch(2)
    return numbers.map(lambda x: tf.cast(x, tf.float32)).prefetch(2)


def test_dropping_an_iterator_does_not_wait():
    assert _seconds_to_drop(lambda: _used(without_autotune(_numbers()))) < 0.5


@pytest.mark.parametrize("part", ["read", "kept", "evaluation"])
def test_the_pipeline_has_no_autotuning(part):
    rng = np.random.default_rng(0)
    source = arrays.ArraySource(
        rng.integers(0, 256, (16, 8, 8, 3), np.uint8),
        np.arange(16, dtype=np.int32) % 2,
        ("a", "b"),
        Preprocessing(),
    )
    if part == "evaluation":
        dataset = pipeline.evaluation(source, 8, 4)
    else:
        batches = pipeline.training(source, 8, 4)
        if part == "kept":
            assert batches.load()
        dataset = batches.epoch(0)
    assert dataset.options().autotune.enabled is False


def test_dropping_a_distributed_iterator_does_not_wait():
    strategy = make_strategy(2)
    datasets = [split_for_replicas(strategy, _numbers()) for _ in range(_DROPS)]
    assert _seconds_to_drop(lambda: _used(datasets.pop())) < 0.5
