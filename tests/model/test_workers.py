"""What each of several workers takes of the batches.

The workers themselves are in tests/integration/test_workers.py.
"""

import types

import numpy as np
import pytest
import tensorflow as tf

from packnet_tf.model import workers
from packnet_tf.model.replicas import split_for_replicas
from packnet_tf.tf_internals.workers import are_several


def parts_of(rows, batch_size, count, replicas):
    """Returns each worker's parts of rows 0, 1, ..., in order."""

    def parts(index):
        context = types.SimpleNamespace(
            input_pipeline_id=index, num_input_pipelines=count
        )
        strategy = types.SimpleNamespace(
            num_replicas_in_sync=count * replicas,
            distribute_datasets_from_function=lambda make: make(context),
        )
        dataset = tf.data.Dataset.range(rows).batch(batch_size)
        return [part.numpy() for part in split_for_replicas(strategy, dataset)]

    return [parts(index) for index in range(count)]


@pytest.mark.parametrize("rows", [48, 50, 53])
@pytest.mark.parametrize("count, replicas", [(2, 1), (4, 1), (2, 2), (3, 2)])
def test_each_row_goes_to_one_replica(rows, count, replicas):
    found = parts_of(rows, 8, count, replicas)
    steps = {len(parts) for parts in found}
    assert len(steps) == 1  # Or one would wait for the others for ever.
    assert all(len(part) for parts in found for part in parts)
    # As `predict` puts the outputs of a step together: the first replicas of
    # all workers, then their second ones.
    order = [
        found[index][step + replica]
        for step in range(0, steps.pop(), replicas)
        for replica in range(replicas)
        for index in range(count)
    ]
    np.testing.assert_array_equal(np.concatenate(order), np.arange(rows))


def test_one_process_is_not_several():
    strategy = tf.distribute.get_strategy()
    assert not are_several(strategy)
    assert workers.is_chief(strategy)
    assert workers.agree(strategy, b"anything")
    workers.meet(strategy)
