"""Cells of a comparison on a tiny network, and images to learn."""

import dataclasses

from packnet_tf.compare.cell import Cell
from packnet_tf.options.compare import CompareOptions
from packnet_tf.options.task import TaskOptions
from packnet_tf.workflow.datasets import prepare, prepare_test

SIZE = 16
TASKS = {"first": ("blue", "green", "red"), "second": ("dark", "light")}
OPTIONS = TaskOptions(
    task="-",
    train_epochs=1,
    retrain_epochs=1,
    gradual_epochs=0,
    reconstruct=False,
    batch_size=12,
    prune_fraction=0.5,
    validation_share=0.2,
    learning_rate=4e-3,
)
COMPARE = CompareOptions(tasks=tuple(TASKS), seeds=(0,), lora_rank=2)


def make_cell(data, network, folder, *, final=True, **changes):
    """Returns a cell of the given tasks.

    Args:
        data: The opened tasks, in order.
        network: The options of the network.
        folder: An empty folder.
        final: Whether it has test images.
        **changes: Fields of `COMPARE` that differ.
    """
    return Cell(
        [
            prepare(one, SIZE, dataclasses.replace(OPTIONS, task=one.name))
            for one in data
        ],
        [prepare_test(one, SIZE, OPTIONS) for one in data] if final else None,
        network,
        OPTIONS,
        dataclasses.replace(COMPARE, **changes),
        folder,
    )
